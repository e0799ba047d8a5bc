//! Running other programs, mainly cargo.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;

/// The cargo that started this program, run in `root`.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Runs `command`; its output goes to the terminal.
pub(crate) fn run(command: &mut Command) -> Result {
    let status = command
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("cannot start `{}`: {error}", display(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed ({status})", display(command))) }
}

/// Runs `command` and returns its standard output; its standard error goes to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start `{}`: {error}", display(command)))?;
    if !output.status.success() {
        return Err(format!("`{}` failed ({})", display(command), output.status));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| format!("`{}` printed something that is not UTF-8", display(command)))
}

/// The command as typed in a shell, with the program's name without its path.
pub(crate) fn display(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let mut words = vec![name.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--workspace"]);
        assert_eq!(display(&command), "cargo test --workspace");
    }

    #[test]
    fn a_missing_program_is_named() {
        let missing = run(&mut Command::new("/nowhere/no-such-program")).unwrap_err();
        assert!(missing.starts_with("cannot start `no-such-program`"), "{missing}");
    }

    #[test]
    #[cfg(unix)]
    fn a_failing_program_is_named() {
        assert!(run(&mut Command::new("true")).is_ok());
        let failing = run(Command::new("false").arg("now")).unwrap_err();
        assert!(failing.starts_with("`false now` failed"), "{failing}");
        assert!(output(&mut Command::new("false")).is_err());
    }
}
