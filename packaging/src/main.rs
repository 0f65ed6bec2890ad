//! `make image` and `make image-verify`.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use packaging::{Packaged, package, target_directory};

/// The image of opamp-operator, without a container daemon.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Writes the image as an OCI archive, and its bill of materials beside it.
    Image {
        /// Where; by default `image` in Cargo's target directory.
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Builds two clones of the newest commit in different places, which share
    /// nothing but Cargo's registry, and compares their images.
    Verify,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        What::Image { output } => image(output),
        What::Verify => verify(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn workspace() -> Result<&'static Path> {
    let parent = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    parent.context("this package is in a workspace")
}

fn image(output: Option<PathBuf>) -> Result<()> {
    let workspace = workspace()?;
    let target = target_directory(workspace)?;
    let output = output.unwrap_or_else(|| target.join("image"));
    let packaged = package(workspace, &target)?;
    fs::create_dir_all(&output)?;
    let name = format!("opamp-operator-{}", packaged.version);
    let archive = output.join(format!("{name}.oci.tar"));
    let bill = output.join(format!("{name}.cdx.json"));
    fs::write(&archive, &packaged.archive.bytes)?;
    fs::write(&bill, &packaged.sbom)?;
    let image = format!("opamp-operator:{}", packaged.version);
    say(&summary(&image, &packaged))?;
    say(&archive.display().to_string())?;
    say(&bill.display().to_string())
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn summary(what: &str, packaged: &Packaged) -> String {
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    format!(
        "{what}  {}  {:.1} MB to fetch, binary {:.1} MB, archive {:.1} MB",
        packaged.archive.digest,
        megabytes(packaged.archive.compressed),
        megabytes(packaged.binary),
        megabytes(packaged.archive.bytes.len()),
    )
}

fn verify() -> Result<()> {
    let workspace = workspace()?;
    let folder = tempfile::tempdir()?;
    let mut made: Option<Packaged> = None;
    for (place, target) in [("a", "a/target"), ("somewhere/else/entirely", "target")] {
        let clone = folder.path().join(place);
        let target = folder.path().join(target);
        let status = Command::new("git")
            .args(["clone", "--quiet", "--no-hardlinks"])
            .args([workspace, clone.as_path()])
            .status()
            .context("cannot run git")?;
        ensure!(status.success(), "the repository cannot be cloned");
        let packaged = package(&clone, &target)?;
        say(&summary(&clone.display().to_string(), &packaged))?;
        // Two builds are large.
        fs::remove_dir_all(&target)?;
        if let Some(first) = &made {
            ensure!(first.sbom == packaged.sbom, "another bill of materials");
            ensure!(
                first.archive.bytes == packaged.archive.bytes,
                "the two archives differ"
            );
        }
        made = Some(packaged);
    }
    say("the two archives are the same, byte for byte")
}
