//! `e2e`: builds the real parts and shows the product at work.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use e2e::parts::foreign::Foreign;
use e2e::parts::{Parts, Set};
use e2e::timeline::say;
use e2e::{cluster, demo, node};

/// Real parts and demonstrations of opamp-operator.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Builds the real parts that are not in the cache yet.
    Build {
        /// Which parts.
        #[arg(long, value_enum, default_value_t = Set::Directory)]
        set: Set,
    },
    /// Prints the arguments that leave out the tests whose tools are missing on
    /// this machine, and says loudly which and why.
    LeftOut,
    /// Keeps a control plane for development and says how to use it.
    Up {
        /// Ends with the standard input and says only where it is: for tests.
        #[arg(long)]
        attached: bool,
    },
    /// Shows three real supervisors that are moved to mutual TLS and follow a renewal.
    Demo,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Build { set } => build(set).await,
        Command::LeftOut => {
            left_out();
            Ok(())
        }
        Command::Up { attached } => cluster::up(attached).await,
        Command::Demo => demo::run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn build(set: Set) -> anyhow::Result<()> {
    for (name, path) in Parts::ensure(set).await?.iter() {
        say(&format!("{name:<24} {}", path.display()));
    }
    if set == Set::All {
        if let Some(why) = node::lacks() {
            eprintln!("*** not built: a node: {why}");
        }
        for part in Foreign::all() {
            if let Some(why) = part.lacks() {
                eprintln!("*** not built: {}: {why}", part.name);
                continue;
            }
            let path = part.ensure().await?;
            say(&format!("{:<24} {}", part.name, path.display()));
        }
    }
    Ok(())
}

fn left_out() {
    for part in Foreign::all() {
        if let Some(why) = part.lacks() {
            say(&format!("--skip {}", part.tests));
            eprintln!("*** LEFT OUT: all tests {}*: {why}", part.tests);
        }
    }
    if let Some(why) = node::lacks() {
        say(&format!("--skip {}", node::TESTS));
        eprintln!("*** LEFT OUT: all tests {}*: {why}", node::TESTS);
    }
}
