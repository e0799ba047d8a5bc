//! Reads the text in a picture, with the two networks of PP-OCR as ONNX models: one
//! finds the lines, the other reads each.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use clap::Parser;
use dendra::datasets::decode_image;
use dendra::onnx::Model;
use dendra::prelude::*;

#[path = "read_text/boxes.rs"]
pub(crate) mod boxes;
#[path = "read_text/warp.rs"]
pub(crate) mod warp;

use boxes::Corners;
use warp::Picture;

/// Reads the text in a picture
#[derive(Parser)]
struct Arguments {
    /// The folder with the networks of PP-OCR: `rapidocr_onnxruntime/models` of the Python
    /// package rapidocr-onnxruntime
    models: PathBuf,
    /// A PNG or JPEG picture
    picture: PathBuf,
    /// The picture with the boxes of the lines
    #[arg(long, value_name = "FILE", default_value = "read_text.png")]
    to: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let reader = Reader::load(&arguments.models)?;
    let mut picture = open(&arguments.picture)?;
    let lines = reader.read(&picture)?;
    for Line { text, confidence, corners } in &lines {
        let [left, top] = corners[0];
        println!("{:5.1} %  at ({left:4}, {top:4})  {text}", 100.0 * confidence);
        picture.outline(corners);
    }
    if lines.is_empty() {
        println!("no text");
    }
    save(&picture, &arguments.to)?;
    println!("wrote {}", arguments.to.display());
    Ok(())
}

/// A line of text in a picture.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// The mean probability of its characters.
    pub(crate) confidence: f32,
    pub(crate) corners: Corners,
}

/// The two networks.
pub(crate) struct Reader {
    detector: Model,
    recogniser: Model,
    /// The characters by index; index 0 stands for none.
    characters: Vec<String>,
}

impl Reader {
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let recogniser = Model::load(network(folder, "_rec_")?)?;
        let Some(characters) = recogniser.metadata("character") else {
            let message = "expected the metadata `character` in the recognition network";
            return Err(Error::file(folder, message));
        };
        let characters = [""].into_iter().chain(characters.lines()).chain([" "]);
        Ok(Self {
            detector: Model::load(network(folder, "_det_")?)?,
            characters: characters.map(str::to_owned).collect(),
            recogniser,
        })
    }

    /// The lines of text in a picture, in reading order.
    pub(crate) fn read(&self, picture: &Picture) -> Result<Vec<Line>> {
        let [height, width] = detector_size(picture.height, picture.width);
        let input = picture.input([height, width], width);
        let map = run(&self.detector, input)?;
        let found = boxes::boxes(&map.to_vec(), width);
        let scale = [picture.width as f32 / width as f32, picture.height as f32 / height as f32];
        let mut lines = Vec::new();
        for corners in boxes::placed(&found, scale, [picture.width, picture.height]) {
            let (text, confidence) = self.read_line(picture, &corners)?;
            if confidence >= 0.5 {
                lines.push(Line { text, confidence, corners });
            }
        }
        Ok(lines)
    }

    /// The text in a box, and the mean probability of its characters.
    fn read_line(&self, picture: &Picture, corners: &Corners) -> Result<(String, f32)> {
        let mut corners = *corners;
        let [width, height] = boxes::size(&corners);
        if height >= 1.5 * width {
            // A line that runs upwards.
            corners.rotate_left(1);
        }
        let line = picture.cut(&corners);
        // 48 pixels high, and at least 320 wide including padding on the right.
        let width = (48 * line.width / line.height).clamp(1, 6000);
        let input = line.input([48, width], width.max(320));
        let probabilities = run(&self.recogniser, input)?;
        Ok(decode(&probabilities.to_vec(), &self.characters))
    }
}

/// The output of a network with one input and one output for a picture.
fn run(model: &Model, input: Tensor) -> Result<Tensor> {
    let name = model.inputs().next().map_or("", |input| input.name.as_str());
    model.run([(name, input)])?[0].to()
}

/// The ONNX model in a folder whose name has this part.
fn network(folder: &Path, part: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains(part) && name.ends_with(".onnx")
    };
    paths.into_iter().find(is_it).ok_or_else(|| {
        let message = format!(
            "there is no network `*{part}*.onnx`: give the folder `rapidocr_onnxruntime/models` \
             of the Python package rapidocr-onnxruntime"
        );
        Error::file(folder, message)
    })
}

/// The size in which a picture is passed to the detector: multiples of 32, the
/// longer side at most 2000 pixels, but the shorter one at least 736.
fn detector_size(height: usize, width: usize) -> [usize; 2] {
    let (shorter, longer) = (height.min(width) as f64, height.max(width) as f64);
    let mut scale = (2000.0 / longer).min(1.0);
    // A strip of a single line would become too long.
    if longer <= 8.0 * shorter {
        scale = scale.max(736.0 / shorter);
    }
    [height, width].map(|side| ((side as f64 * scale / 32.0).round() as usize).max(1) * 32)
}

/// The characters for probabilities `[steps, characters]`, and their mean
/// probability, by greedy decoding of connectionist temporal classification:
/// the most probable character of each step, without repetitions and blanks.
pub(crate) fn decode(probabilities: &[f32], characters: &[String]) -> (String, f32) {
    let (mut text, mut sum, mut count, mut before) = (String::new(), 0.0, 0, 0);
    for step in probabilities.chunks_exact(characters.len()) {
        let best =
            (1..step.len()).fold(0, |best, next| if step[next] > step[best] { next } else { best });
        if best != 0 && best != before {
            text += &characters[best];
            sum += step[best];
            count += 1;
        }
        before = best;
    }
    (text, if count == 0 { 0.0 } else { sum / count as f32 })
}

pub(crate) fn open(path: &Path) -> Result<Picture> {
    let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
    let image =
        decode_image(&bytes, false).map_err(|error| error.within(path.display().to_string()))?;
    let [_, height, width] = image.shape();
    Ok(Picture { planes: image.into_pixels(), height, width })
}

fn save(picture: &Picture, path: &Path) -> Result<()> {
    let file = File::create(path).map_err(|error| Error::io(path, error))?;
    let [width, height] = [picture.width, picture.height].map(|side| side as u32);
    let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
    encoder.set_color(png::ColorType::Rgb);
    let area = picture.width * picture.height;
    let pixel = |index| (0..3).map(move |plane| picture.planes[plane * area + index]);
    let pixels: Vec<u8> = (0..area).flat_map(pixel).collect();
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels));
    written.map_err(|error| Error::file(path, error.to_string()))
}
