//! Writes the malformed files into one folder per parser, as seeds for the fuzz
//! targets.
//!
//! `cargo run -p dendra-hostile -- fuzz/corpus`

use std::fs;
use std::io;
use std::path::PathBuf;

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("name the folder to write to"));
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
