//! The few protocol-buffer messages that an event file contains.
//!
//! A field is its number and wire type, followed by its value. A message inside
//! another is its length, followed by its fields. The field numbers are those
//! of TensorFlow's `event.proto` and `summary.proto`.

/// A message that is being written.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

/// The wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

impl Message {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u64, wire: u64) {
        self.varint(field << 3 | wire);
    }

    pub(super) fn integer(mut self, field: u64, value: u64) -> Self {
        self.key(field, VARINT);
        self.varint(value);
        self
    }

    pub(super) fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, FIXED64);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, FIXED32);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.key(field, BYTES);
        self.varint(value.len() as u64);
        self.0.extend(value);
        self
    }

    pub(super) fn message(self, field: u64, value: Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// A packed list of numbers.
    pub(super) fn doubles(self, field: u64, values: &[f64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.bytes(field, &bytes)
    }
}

/// An event at a time (seconds since 1970) and a step.
fn event(wall_time: f64, step: u64) -> Message {
    let event = Message::new().double(1, wall_time);
    // A field with the default value 0 is not written.
    if step > 0 { event.integer(2, step) } else { event }
}

/// The first event of a file.
pub(super) fn version(wall_time: f64) -> Message {
    Message::new().double(1, wall_time).bytes(3, b"brain.Event:2")
}

/// An event with one tagged value.
fn summary(wall_time: f64, step: u64, tag: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    let value = fill(Message::new().bytes(1, tag.as_bytes()));
    event(wall_time, step).message(5, Message::new().message(1, value))
}

pub(super) fn scalar(wall_time: f64, step: u64, tag: &str, value: f32) -> Message {
    summary(wall_time, step, tag, |message| message.float(2, value))
}

/// Counts of values in buckets; each bucket ends at its limit.
#[derive(Debug, PartialEq)]
pub(super) struct Histogram {
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) sum_of_squares: f64,
    pub(super) limits: Vec<f64>,
    pub(super) counts: Vec<f64>,
}

pub(super) fn histogram(wall_time: f64, step: u64, tag: &str, values: &Histogram) -> Message {
    let histogram = Message::new()
        .double(1, values.min)
        .double(2, values.max)
        .double(3, values.count)
        .double(4, values.sum)
        .double(5, values.sum_of_squares)
        .doubles(6, &values.limits)
        .doubles(7, &values.counts);
    summary(wall_time, step, tag, |message| message.message(5, histogram))
}

pub(super) fn image(
    wall_time: f64,
    step: u64,
    tag: &str,
    [channels, height, width]: [usize; 3],
    png: &[u8],
) -> Message {
    let image = Message::new()
        .integer(1, height as u64)
        .integer(2, width as u64)
        .integer(3, channels as u64)
        .bytes(4, png);
    summary(wall_time, step, tag, |message| message.message(4, image))
}

/// The metadata by which a plugin of TensorBoard finds its values.
fn metadata(plugin: &str, content: Option<Message>) -> Message {
    let data = Message::new().bytes(1, plugin.as_bytes());
    let data = match content {
        Some(content) => data.message(2, content),
        None => data,
    };
    Message::new().message(1, data)
}

/// A text in Markdown.
pub(super) fn text(wall_time: f64, step: u64, tag: &str, markdown: &str) -> Message {
    const STRING: u64 = 7;
    let shape = Message::new().message(2, Message::new().integer(1, 1));
    let tensor = Message::new().integer(1, STRING).message(2, shape).bytes(8, markdown.as_bytes());
    summary(wall_time, step, tag, |message| {
        message.message(8, tensor).message(9, metadata("text", None))
    })
}

/// The settings of a run, for the HPARAMS page.
pub(super) fn hyperparameters(wall_time: f64, settings: &[(String, String)]) -> Message {
    const FLOAT: u64 = 1;
    let session = settings.iter().fold(Message::new(), |session, (name, value)| {
        let value = match value.parse::<f64>() {
            Ok(number) => Message::new().double(2, number),
            Err(_) => Message::new().bytes(3, value.as_bytes()),
        };
        session.message(1, Message::new().bytes(1, name.as_bytes()).message(2, value))
    });
    let session = session.double(5, wall_time);
    let content = Message::new().message(3, session);
    let empty = Message::new().message(2, Message::new());
    let tensor = Message::new().integer(1, FLOAT).message(2, empty);
    summary(wall_time, 0, "_hparams_/session_start_info", |message| {
        message.message(8, tensor).message(9, metadata("hparams", Some(content)))
    })
}

/// A node of a graph: its path, its operation, and the paths of its inputs.
pub(super) struct GraphNode {
    pub(super) name: String,
    pub(super) operation: String,
    pub(super) inputs: Vec<String>,
}

pub(super) fn graph(wall_time: f64, nodes: &[GraphNode]) -> Message {
    let graph = nodes.iter().fold(Message::new(), |graph, node| {
        let message =
            Message::new().bytes(1, node.name.as_bytes()).bytes(2, node.operation.as_bytes());
        let inputs = node.inputs.iter();
        graph.message(1, inputs.fold(message, |message, input| message.bytes(3, input.as_bytes())))
    });
    event(wall_time, 0).message(4, graph)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(message: Message) -> String {
        message.into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes are those of `SerializeToString` of TensorBoard's own
    /// `event_pb2`.
    #[test]
    fn messages_are_those_of_tensorboard() {
        assert_eq!(hex(version(1.5)), VERSION);
        assert_eq!(hex(scalar(2.5, 300, "loss/batch", 0.25)), SCALAR);
        let values = Histogram {
            min: -1.0,
            max: 3.0,
            count: 5.0,
            sum: 4.0,
            sum_of_squares: 14.0,
            limits: vec![1.0, 3.0],
            counts: vec![2.0, 3.0],
        };
        assert_eq!(hex(histogram(2.5, 7, "weights/w", &values)), HISTOGRAM);
        assert_eq!(hex(image(2.5, 7, "a", [1, 28, 300], b"png")), IMAGE);
        assert_eq!(hex(text(2.5, 7, "note", "a *b*")), TEXT);
        let settings = [("width".to_owned(), "64".to_owned())];
        assert_eq!(hex(hyperparameters(2.5, &settings)), HYPERPARAMETERS);
        let node = |name: &str, operation: &str, inputs: &[&str]| GraphNode {
            name: name.into(),
            operation: operation.into(),
            inputs: inputs.iter().map(|input| input.to_string()).collect(),
        };
        let nodes = [node("x", "input", &[]), node("1/relu", "relu", &["x"])];
        assert_eq!(hex(graph(2.5, &nodes)), GRAPH);
    }

    const VERSION: &str = "\
        09000000000000f83f1a0d627261696e2e4576656e743a32";
    const SCALAR: &str = "\
        09000000000000044010ac022a130a110a0a6c6f73732f626174636815000080\
        3e";
    const HISTOGRAM: &str = "\
        09000000000000044010072a600a5e0a09776569676874732f772a5109000000\
        000000f0bf110000000000000840190000000000001440210000000000001040\
        290000000000002c403210000000000000f03f00000000000008403a10000000\
        00000000400000000000000840";
    const IMAGE: &str = "\
        09000000000000044010072a130a110a0161220c081c10ac0218012203706e67";
    const TEXT: &str = "\
        09000000000000044010072a230a210a046e6f7465420f080712041202080142\
        0561202a622a4a080a060a0474657874";
    const HYPERPARAMETERS: &str = "\
        0900000000000004402a560a540a1c5f68706172616d735f2f73657373696f6e\
        5f73746172745f696e666f42060801120212004a2c0a2a0a0768706172616d73\
        121f1a1d0a120a05776964746812091100000000000050402900000000000004\
        40";
    const GRAPH: &str = "\
        090000000000000440221f0a0a0a01781205696e7075740a110a06312f72656c\
        75120472656c751a0178";
}
