//! Generates the messages, the client and the server trait from `proto/bcast.proto`; protox parses it, so no
//! `protoc` has to be installed. The compiled descriptor is kept for reflection.

use std::path::PathBuf;

use prost::Message;

/// Fields whose JSON is not the message's own: suffix of the field's path, serializer in `src/json.rs`.
const FIELDS: &[(&str, &str)] = &[
    ("Tep.address", "address"),
    ("Tep.route_gateway", "optional_address"),
    ("Tep.route_gateway6", "optional_address"),
    ("Domain.arp_inspection", "word::<crate::model::ArpInspection, _>"),
    ("Havip.subnet", "address"),
    ("Havip.address", "address"),
    ("Havip.eip", "optional_address"),
    ("Attachment.mac", "mac"),
    ("Holder.mac", "mac"),
    ("Holder.tep", "address"),
    ("Binding.state", "word::<crate::model::HavipState, _>"),
    ("Binding.why", "word::<crate::model::Why, _>"),
    ("HavipEvent.address", "address"),
    ("HavipEvent.eip", "optional_address"),
    ("HavipEvent.kind", "word::<crate::model::HavipEventKind, _>"),
    ("HavipEvent.why", "word::<crate::model::Why, _>"),
    ("Offender.mac", "mac"),
    ("Offender.tep", "address"),
    ("TepStatus.next_hop", "optional_address"),
    ("TepStatus.mac", "optional_mac"),
    ("LastAnnounced.mac", "mac"),
    ("LastAnnounced.tep", "address"),
    ("WatchEvent.kind.tep_deleted", "address"),
    ("DeadLetter.body", "json_text"),
];
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/bcast.proto");
    let descriptors = protox::compile(["bcast.proto"], ["proto"])?;
    let mut bare = descriptors.clone();
    bare.file.iter_mut().for_each(|file| file.source_code_info = None);
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("bcast.v1.desc"), bare.encode_to_vec())?;
    let mut config = tonic_prost_build::configure()
        .codec_path("crate::codec::Codec")
        .type_attribute(".bcast.v1", "#[derive(serde::Serialize)]")
        .type_attribute(".bcast.v1.Teps", "#[serde(into = \"Vec<String>\")]")
        .enum_attribute(".bcast.v1", "#[serde(rename_all = \"snake_case\")]");
    for (field, serializer) in FIELDS {
        let attribute = format!("#[serde(serialize_with = \"crate::json::{serializer}\")]");
        config = config.field_attribute(format!(".bcast.v1.{field}"), attribute);
    }
    config.compile_fds(descriptors)?;
    Ok(())
}
