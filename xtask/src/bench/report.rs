//! The results as a table and as a file.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::peers::Peer;
use super::{Figures, Row, Work};
use crate::{Result, process};

/// The conditions of the measurement in one paragraph.
pub(super) fn setting(threads: usize, peers: &[Peer]) -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor =
        processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let compiler = process::output(Command::new("rustc").arg("--version")).unwrap_or_default();
    let mut parts = vec![
        format!("dendra {}", env!("CARGO_PKG_VERSION")),
        compiler.trim().to_owned(),
        processor.map_or("processor unknown", |(_, name)| name.trim()).to_owned(),
        format!("{threads} threads"),
    ];
    parts.extend(peers.iter().map(|peer| format!("{} {}", peer.name, peer.version)));
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

/// A Markdown table with aligned columns, without the columns of memory if no program reports it.
pub(super) fn table(rows: &[Row]) -> String {
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    lines.extend(rows.iter().map(cells));
    let shown: Vec<bool> = (0..COLUMNS.len())
        .map(|i| !COLUMNS[i].contains("memory") || lines[1..].iter().any(|l| !l[i].is_empty()))
        .collect();
    let widths: Vec<usize> = (0..COLUMNS.len())
        .map(|i| lines.iter().map(|line| line[i].chars().count()).max().unwrap_or(0))
        .collect();
    let join = |cell: &dyn Fn(usize) -> String| {
        let cells: Vec<String> = (0..COLUMNS.len()).filter(|&i| shown[i]).map(cell).collect();
        format!("| {} |", cells.join(" | "))
    };
    let padded = |line: &[String]| join(&|i| format!("{:<width$}", line[i], width = widths[i]));
    let mut text: Vec<String> = lines.iter().map(|line| padded(line)).collect();
    text.insert(1, join(&|i| "-".repeat(widths[i])));
    text.join("\n")
}

const COLUMNS: [&str; 8] =
    ["case", "ours", "rate", "memory", "peer", "peer's time", "peer's memory", "ratio"];

fn cells(row: &Row) -> [String; COLUMNS.len()] {
    let Row { figures, .. } = row;
    let memory = |figures: Figures| figures.memory.map(|bytes| format!("{:.0} MB", bytes * 1e-6));
    let theirs = row.peer.map(|(_, figures)| figures);
    [
        row.case.clone(),
        duration(figures.seconds),
        row.work.map(|work| rate(work, figures.seconds)).unwrap_or_default(),
        memory(*figures).unwrap_or_default(),
        row.peer.map(|(name, _)| name.to_owned()).unwrap_or_default(),
        theirs.map(|figures| duration(figures.seconds)).unwrap_or_default(),
        theirs.and_then(memory).unwrap_or_default(),
        row.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
    ]
}

fn duration(seconds: f64) -> String {
    let (scale, unit) = match seconds {
        s if s >= 1.0 => (1.0, "s"),
        s if s >= 1e-3 => (1e3, "ms"),
        s if s >= 1e-6 => (1e6, "µs"),
        _ => (1e9, "ns"),
    };
    let number = seconds * scale;
    let digits = if number >= 100.0 {
        0
    } else if number >= 10.0 {
        1
    } else {
        2
    };
    format!("{number:.digits$} {unit}")
}

fn rate(work: Work, seconds: f64) -> String {
    match work {
        Work::Operations(count) => format!("{:.1} GFLOP/s", count / seconds * 1e-9),
        Work::Bytes(count) => format!("{:.1} GB/s", count / seconds * 1e-9),
    }
}

/// Writes the rows as a JSON list; the fields of the peer are null for a row without one.
pub(super) fn write(path: &Path, rows: &[Row]) -> Result {
    let mut text = format!("{:#}", Value::from_iter(rows.iter().map(entry)));
    text.push('\n');
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

fn entry(row: &Row) -> Value {
    json!({
        "group": row.group.to_string(),
        "case": row.case,
        "seconds": row.figures.seconds,
        "memory": row.figures.memory,
        "peer": row.peer.map(|(name, _)| name),
        "peer_seconds": row.peer.map(|(_, figures)| figures.seconds),
        "peer_memory": row.peer.and_then(|(_, figures)| figures.memory),
        "ratio": row.ratio(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Group;
    use super::*;

    fn row(case: &str, peer: Option<(&'static str, f64)>) -> Row {
        let work = Some(Work::Operations(2e6));
        let figures = |seconds| Figures { seconds, memory: None };
        let peer = peer.map(|(name, seconds)| (name, figures(seconds)));
        Row { group: Group::Kernels, case: case.to_owned(), figures: figures(1e-3), work, peer }
    }

    #[test]
    fn a_row_without_a_peer_has_null_fields() {
        let entry = entry(&row("relu/10", None));
        let expected = json!({"group": "kernels", "case": "relu/10", "seconds": 1e-3,
            "memory": null, "peer": null, "peer_seconds": null, "peer_memory": null,
            "ratio": null});
        assert_eq!(entry, expected);
    }

    #[test]
    fn the_ratio_is_the_speed_relative_to_the_peer() {
        let entry = entry(&row("relu/10", Some(("pytorch", 4e-3))));
        assert_eq!(entry["peer"], "pytorch");
        assert_eq!(entry["peer_seconds"], 4e-3);
        assert_eq!(entry["ratio"], 4.0);
    }

    #[test]
    fn the_table_lines_up() {
        let rows = [row("relu/10", None), row("matmul/10x10x10", Some(("pytorch", 25e-6)))];
        let expected = "\
            | case            | ours    | rate        | peer    | peer's time | ratio |\n\
            | --------------- | ------- | ----------- | ------- | ----------- | ----- |\n\
            | relu/10         | 1.00 ms | 2.0 GFLOP/s |         |             |       |\n\
            | matmul/10x10x10 | 1.00 ms | 2.0 GFLOP/s | pytorch | 25.0 µs     | 0.03  |";
        assert_eq!(table(&rows), expected);
    }

    #[test]
    fn memory_has_columns_if_it_is_reported() {
        let mut row = row("lstm/1", None);
        row.figures.memory = Some(25e6);
        let table = table(&[row]);
        let header = "| case   | ours    | rate        | memory | peer | peer's time | ratio |";
        assert_eq!(table.lines().next(), Some(header));
        assert!(table.contains("| 25 MB  |"), "{table}");
    }

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        let shown = [2.5, 0.0125, 0.000_123_4, 5e-9].map(duration);
        assert_eq!(shown, ["2.50 s", "12.5 ms", "123 µs", "5.00 ns"]);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let message = write(Path::new("/nowhere/a.json"), &[]).unwrap_err();
        assert!(message.starts_with("cannot write /nowhere/a.json: "), "{message}");
    }
}
