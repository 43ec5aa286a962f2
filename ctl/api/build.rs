//! Generates the messages, the client and the server trait from `proto/bcast.proto`; protox parses it, so no
//! `protoc` has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/bcast.proto");
    let descriptors = protox::compile(["bcast.proto"], ["proto"])?;
    tonic_prost_build::configure().codec_path("crate::codec::Codec").compile_fds(descriptors)?;
    Ok(())
}
