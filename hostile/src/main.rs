//! Writes the malformed files into one folder per parser, as seeds for the fuzz
//! targets.
//!
//! `cargo run -p dendra-hostile -- fuzz/corpus`

use std::fs;
use std::io;
use std::path::PathBuf;

fn main() -> io::Result<()> {
    let folder = match std::env::args_os().skip(1).collect::<Vec<_>>().as_slice() {
        // A folder with such a name is written `./-name`.
        [folder] if !folder.as_encoded_bytes().starts_with(b"-") => PathBuf::from(folder),
        _ => return Err(io::Error::other("expected one argument, the folder to write to")),
    };
    let files = dendra_hostile::files::all();
    for file in &files {
        for parser in &file.parsers {
            let folder = folder.join(parser);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join(file.name.replace(['/', ' '], "_")), &file.bytes)?;
        }
    }
    println!("{} files in {}", files.len(), folder.display());
    Ok(())
}
