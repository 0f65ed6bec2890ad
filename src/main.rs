//! The binary: an exit code around [`opamp_operator::cli`].

use std::process::ExitCode;

use clap::Parser as _;
use opamp_operator::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(code) => code,
        Err(error) => {
            let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
            #[expect(
                clippy::print_stderr,
                reason = "the one place that talks to the terminal"
            )]
            {
                eprintln!("error: {}", causes.join(": "));
            }
            ExitCode::FAILURE
        }
    }
}
