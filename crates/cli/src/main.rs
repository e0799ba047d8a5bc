//! The command `dendra`.

use std::process::ExitCode;

fn main() -> ExitCode {
    dendra_cli::main()
}
