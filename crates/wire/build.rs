//! Compiles `proto/` into Rust types, in pure Rust: nobody needs `protoc`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use tonic_prost_build::FileDescriptorSet;

const PACKAGE: &str = "opamp.proto";
const ENTRY: &str = "opamp/v1/opamp.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", root.display());

    let descriptors = protox::compile([ENTRY], [&root])?;
    export(&descriptors)?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .emit_rerun_if_changed(false)
        // A frame is read once; what is cut out of it shares its memory.
        .bytes(".")
        // The same settings must always become the same bytes.
        .btree_map(".")
        .skip_debug(messages(&descriptors))
        .compile_fds(descriptors)?;
    Ok(())
}

/// The paths of all messages. None gets a derived `Debug`: `redact.rs` writes
/// them all, so a new message cannot print a secret by default. (A bare `.`
/// would take `Debug` from the enums as well.)
fn messages(descriptors: &FileDescriptorSet) -> Vec<String> {
    let files = descriptors.file.iter();
    files
        .flat_map(|file| &file.message_type)
        .map(|message| format!(".{PACKAGE}.{}", message.name()))
        .collect()
}

/// Writes the descriptor set that `proto.rs` embeds, without the comments.
fn export(descriptors: &FileDescriptorSet) -> Result<(), Box<dyn Error>> {
    let mut bare = descriptors.clone();
    for file in &mut bare.file {
        file.source_code_info = None;
    }
    let target = PathBuf::from(env::var("OUT_DIR")?).join("opamp.descriptors");
    fs::write(target, bare.encode_to_vec())?;
    Ok(())
}
