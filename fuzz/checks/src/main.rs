//! Writes the seeds that are made on purpose.

fn main() -> std::io::Result<()> {
    fuzz_checks::seeds::write()
}
