//! Generates the messages, the client and the server trait from `proto/bcast.proto`; protox parses it, so no
//! `protoc` has to be installed. The compiled descriptor is kept for reflection.

use std::path::PathBuf;

use prost::Message;

/// Messages that the command line prints as they are.
const PRINTED: &[&str] = &[
    "Domain",
    "DomainRates",
    "Gateway",
    "ClusterNode",
    "Learned",
    "Attachment",
    "Holder",
    "HavipEvent",
    "Offender",
    "RefusedAnnouncement",
    "Diagnosis",
    "CommitReply",
    "Count",
    "DomainStatsReply",
    "DroppedSender",
    "Webhook",
    "DeadLetter",
];
/// Fields whose JSON is not the message's own: path, serializer in `src/json.rs`, and name in JSON where it is another.
const FIELDS: &[(&str, &str, &str)] = &[
    ("Domain.limit", "or_default", ""),
    ("Domain.arp_inspection", "word::<crate::model::ArpInspection, _>", ""),
    ("Domain.subnets", "subnets", ""),
    ("Domain.gateways", "gateways", ""),
    ("Domain.pinned", "node_names", ""),
    ("Gateway.address", "address", ""),
    ("Gateway.mac", "mac", ""),
    ("ClusterNode.zone", "optional_text", ""),
    ("ClusterNode.address", "address", ""),
    ("Learned.address", "address", ""),
    ("Learned.mac", "mac", ""),
    ("Learned.tep", "address", ""),
    ("Learned.heard_unix_ms", "optional_utc", "heard"),
    ("Attachment.mac", "mac", ""),
    ("Holder.mac", "mac", ""),
    ("Holder.tep", "address", ""),
    ("HavipEvent.address", "address", ""),
    ("HavipEvent.eip", "optional_address", ""),
    ("HavipEvent.kind", "word::<crate::model::HavipEventKind, _>", ""),
    ("HavipEvent.unix_ms", "optional_utc", "time"),
    ("HavipEvent.why", "word::<crate::model::Why, _>", ""),
    ("HavipEvent.detail", "optional_text", ""),
    ("Offender.mac", "mac", ""),
    ("Offender.tep", "address", ""),
    ("RefusedAnnouncement.address", "address", ""),
    ("RefusedAnnouncement.mac", "mac", ""),
    ("RefusedAnnouncement.tep", "address", ""),
    ("RefusedAnnouncement.reason", "word::<crate::model::RefusalReason, _>", ""),
    ("RefusedAnnouncement.unix_ms", "optional_utc", "time"),
    ("DomainStatsReply.frame_drops", "counters", ""),
    ("DomainStatsReply.copy_drops", "counters", ""),
    ("DroppedSender.source", "optional_address", ""),
    ("DroppedSender.mac", "optional_mac", ""),
    ("DroppedSender.destination", "optional_mac", ""),
    ("DroppedSender.unix_ms", "optional_utc", "time"),
    ("Webhook.oldest_unix_ms", "optional_utc", "oldest"),
    ("Webhook.last_error", "optional_text", ""),
    ("Webhook.failing_since_unix_ms", "optional_utc", "failing_since"),
    ("Webhook.last_attempt_unix_ms", "optional_utc", "last_attempt"),
    ("DeadLetter.since_unix_ms", "optional_utc", "since"),
    ("DeadLetter.died_unix_ms", "optional_utc", "died"),
    ("DeadLetter.body", "json_value", "event"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/bcast.proto");
    let descriptors = protox::compile(["bcast.proto"], ["proto"])?;
    let mut bare = descriptors.clone();
    bare.file.iter_mut().for_each(|file| file.source_code_info = None);
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("bcast.v1.desc"), bare.encode_to_vec())?;
    let mut config = tonic_prost_build::configure().codec_path("crate::codec::Codec");
    for message in PRINTED {
        config = config.type_attribute(format!(".bcast.v1.{message}"), "#[derive(serde::Serialize)]");
    }
    for (field, serializer, name) in FIELDS {
        let rename = if name.is_empty() { String::new() } else { format!(", rename = \"{name}\"") };
        let attribute = format!("#[serde(serialize_with = \"crate::json::{serializer}\"{rename})]");
        config = config.field_attribute(format!(".bcast.v1.{field}"), attribute);
    }
    for field in ["subnets", "gateways", "pinned"] {
        let attribute = "#[serde(skip_serializing_if = \"Option::is_none\")]";
        config = config.field_attribute(format!(".bcast.v1.Domain.{field}"), attribute);
    }
    config.compile_fds(descriptors)?;
    Ok(())
}
