//! `dendra predict`.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use dendra_datasets::{AnyPreprocessing, Column, read_text};
use dendra_deploy::{Answer, Network};
use dendra_tensor::{Error, Result};
use serde_json::{Value, json};

use crate::Failure;
use crate::arguments::{Predict, TableFormat};
use crate::data::texts::Texts;
use crate::data::{PICTURES, ending, in_file, table, walk};
use crate::model::{COLUMN, entry};
use crate::screen::Screen;

/// The largest number of pictures in memory.
const AT_A_TIME: usize = 128;

/// Answers with the names of their inputs.
type Named = Vec<(String, Answer)>;

pub(crate) fn run(arguments: &Predict, screen: Screen) -> Result<(), Failure> {
    let Predict { model, inputs, text, csv, table } = arguments;
    if inputs.is_empty() && text.is_empty() {
        let message = "expected inputs: files, `-` for the standard input, or --text";
        return Err(Failure::Usage(message.to_owned()));
    }
    let network = Network::load(model)?;
    let mut answers = Named::new();
    if !text.is_empty() {
        let found = network.predict_texts(text)?;
        answers.extend(text.iter().cloned().zip(found));
    }
    let column = entry(model, COLUMN).unwrap_or_default();
    let reader = Reader { network: &network, column: column.as_deref(), format: table };
    for input in inputs {
        let found = reader.answers(input)?;
        let several = inputs.len() > 1 && found.len() > 1;
        answers.extend(found.into_iter().map(|(name, answer)| match several {
            true => (format!("{}: {name}", input.display()), answer),
            false => (name, answer),
        }));
    }
    print(&answers, *csv, screen)?;
    Ok(())
}

struct Reader<'a> {
    network: &'a Network,
    /// The column with the texts.
    column: Option<&'a str>,
    format: &'a TableFormat,
}

impl Reader<'_> {
    /// The answers for a file, a folder or the standard input.
    fn answers(&self, path: &Path) -> Result<Named> {
        let is_input = path.as_os_str() == "-";
        if path.is_dir() {
            let mut files = Vec::new();
            walk(path, &mut files, 0)?;
            let wanted: &[&str] = match self.network.preprocessing() {
                AnyPreprocessing::Text(_) => &["txt"],
                _ => &PICTURES,
            };
            files.retain(|file| wanted.contains(&ending(file).as_str()));
            if files.is_empty() {
                let message =
                    format!("contains no files .{}", wanted[..wanted.len().min(2)].join(", ."));
                return Err(Error::file(path, message));
            }
            return self.files(&files);
        }
        match ending(path).as_str() {
            "json" => {
                return self.json(&read(path)?).map_err(|error| in_file(path, error));
            }
            "txt" if self.takes_texts() => return self.files(&[path.to_owned()]),
            ending if PICTURES.contains(&ending) => return self.files(&[path.to_owned()]),
            _ => {}
        }
        if is_input {
            let mut bytes = Vec::new();
            let read = std::io::stdin().read_to_end(&mut bytes);
            read.map_err(|error| Error::io("standard input", error))?;
            let start = bytes.trim_ascii_start().first();
            if start == Some(&b'{') {
                return self
                    .json(&bytes)
                    .map_err(|error| in_file("standard input".as_ref(), error));
            }
            if self.takes_texts() {
                let text = String::from_utf8(bytes).map_err(|_| {
                    Error::file("standard input", "expected UTF-8 text with one input per line")
                })?;
                let lines: Vec<String> = text.lines().map(str::to_owned).collect();
                let answers = self.network.predict_texts(&lines)?;
                return Ok(lines.into_iter().zip(answers).collect());
            }
            if self.takes_pictures() {
                let answers = self.network.predict_images(&[bytes])?;
                return Ok(numbered("standard input", answers));
            }
            let table = table::parse_input(&bytes, self.format)?;
            return self.table(table).map_err(|error| in_file("standard input".as_ref(), error));
        }
        self.table(table::read(path, self.format)?.0).map_err(|error| in_file(path, error))
    }

    fn takes_texts(&self) -> bool {
        matches!(self.network.preprocessing(), AnyPreprocessing::Text(_))
    }

    fn takes_pictures(&self) -> bool {
        matches!(self.network.preprocessing(), AnyPreprocessing::Image(_))
    }

    fn files(&self, files: &[PathBuf]) -> Result<Named> {
        let mut answers = Named::new();
        for files in files.chunks(AT_A_TIME) {
            let found = if self.takes_texts() {
                let texts = files.iter().map(read_text).collect::<Result<Vec<_>>>()?;
                self.network.predict_texts(&texts)
            } else {
                let contents = files.iter().map(|file| read(file)).collect::<Result<Vec<_>>>()?;
                self.network.predict_images(&contents).or_else(|error| {
                    // One at a time, to name the file that cannot be decoded.
                    for (file, contents) in files.iter().zip(&contents) {
                        self.network
                            .prepare_images(&[contents])
                            .map_err(|error| Error::file(file, error.to_string()))?;
                    }
                    Err(error)
                })
            };
            let names = files.iter().map(|file| file.display().to_string());
            answers.extend(names.zip(found?));
        }
        Ok(answers)
    }

    fn json(&self, bytes: &[u8]) -> Result<Named> {
        Ok(numbered("row", self.network.predict_json(bytes)?))
    }

    fn table(&self, table: dendra_datasets::Table) -> Result<Named> {
        let answers = match self.network.preprocessing() {
            AnyPreprocessing::Table(_) => self.network.predict_table(&table)?,
            AnyPreprocessing::Text(_) => {
                let column = match (self.column, table.names()) {
                    (Some(column), _) => column,
                    (None, [one]) => one,
                    _ => {
                        let message = "the model does not say which column has the texts: give a \
                                       table with that column alone";
                        return Err(Error::data("the table", message));
                    }
                };
                self.network.predict_texts(&Texts::of_column(&table, column)?)?
            }
            // All columns are inputs, in their order.
            _ => {
                let columns = table.names().iter().map(|name| match table.column(name)? {
                    Column::Numbers(all) => Ok(all),
                    Column::Texts(_) => {
                        let message = format!("expected numbers in the column {name:?}, got texts");
                        Err(Error::data("the table", message))
                    }
                });
                let columns = columns.collect::<Result<Vec<_>>>()?;
                let rows = (0..table.len()).flat_map(|row| columns.iter().map(move |c| c[row]));
                let input = self.network.prepare_numbers(&rows.collect::<Vec<f64>>())?;
                self.network.predict(input)?
            }
        };
        Ok(numbered("row", answers))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::io(path, error))
}

fn numbered(what: &str, answers: Vec<Answer>) -> Named {
    let name = |index: usize| if what == "row" { format!("row {index}") } else { what.to_owned() };
    answers.into_iter().enumerate().map(|(index, answer)| (name(index), answer)).collect()
}

/// A number with the digits of a 32-bit float.
fn digits(number: f64) -> String {
    (number as f32).to_string()
}

fn print(answers: &Named, csv: bool, screen: Screen) -> Result<()> {
    if screen.is_json() {
        let answers = answers.iter().map(|(input, answer)| {
            let mut value = serde_json::to_value(answer)
                .map_err(|error| Error::argument("dendra predict", error.to_string()))?;
            if let Value::Object(fields) = &mut value {
                fields.insert("input".to_owned(), input.clone().into());
            }
            Ok(value)
        });
        let answers = answers.collect::<Result<Vec<_>>>()?;
        return screen.json(&json!({ "predictions": answers }));
    }
    if csv {
        screen.result("input,prediction,probability")?;
    }
    for (input, answer) in answers {
        let (shown, probability) = match answer {
            Answer::Class(found) => (found.class().to_owned(), digits(found.probability())),
            Answer::Numbers(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(|&number| digits(number)).collect();
                (numbers.join(" "), String::new())
            }
            other => (other.to_string(), String::new()),
        };
        match (csv, answer) {
            (true, _) => {
                screen.result(format_args!("{},{},{probability}", quoted(input), quoted(&shown)))
            }
            (false, Answer::Class(found)) => screen.result(format_args!("{input}: {found}")),
            (false, _) => screen.result(format_args!("{input}: {shown}")),
        }?;
    }
    Ok(())
}

/// A field of a CSV file.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}
