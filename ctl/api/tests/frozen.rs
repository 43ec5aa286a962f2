//! The contract against its frozen descriptor, `proto/bcast.v1.desc`: version 1 may grow, and nothing of it changes.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

/// Each thing of the contract that a peer relies on, by its path.
fn promises(bytes: &[u8]) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for file in FileDescriptorSet::decode(bytes).unwrap().file {
        let package = file.package().to_owned();
        file.message_type.iter().for_each(|message| of_message(&package, message, &mut found));
        file.enum_type.iter().for_each(|one| of_enum(&package, one, &mut found));
        for service in &file.service {
            for method in &service.method {
                let path = format!("{package}.{}/{}", service.name(), method.name());
                let streams = (method.client_streaming(), method.server_streaming());
                found.insert(path, format!("{} {} {streams:?}", method.input_type(), method.output_type()));
            }
        }
    }
    found
}

fn of_message(package: &str, message: &DescriptorProto, found: &mut HashMap<String, String>) {
    let path = format!("{package}.{}", message.name());
    found.insert(path.clone(), "message".to_owned());
    for field in &message.field {
        // An optional field is a oneof of its own: that it has presence is a promise, too.
        let oneof = field.oneof_index.map(|index| message.oneof_decl[usize::try_from(index).unwrap()].name());
        let kind = format!(
            "{} {:?} {:?} {:?} {oneof:?}",
            field.name(),
            field.label(),
            field.r#type(),
            field.type_name
        );
        found.insert(format!("{path}#{}", field.number()), kind);
    }
    message.nested_type.iter().for_each(|nested| of_message(&path, nested, found));
    message.enum_type.iter().for_each(|one| of_enum(&path, one, found));
}

fn of_enum(package: &str, one: &EnumDescriptorProto, found: &mut HashMap<String, String>) {
    for value in &one.value {
        found.insert(format!("{package}.{}#{}", one.name(), value.number()), value.name().to_owned());
    }
}

/// Parts of the frozen contract that are gone or different.
fn broken(frozen: &[u8], now: &[u8]) -> Vec<String> {
    let now = promises(now);
    let changed = promises(frozen).into_iter().filter(|(path, was)| now.get(path) != Some(was));
    changed.map(|(path, was)| format!("{path} was {was}, is {:?}", now.get(&path))).collect()
}

#[test]
fn nothing_of_the_frozen_contract_is_removed_renumbered_retyped_or_renamed() {
    let frozen = include_bytes!("../proto/bcast.v1.desc");
    assert!(promises(frozen).len() > 300, "the frozen descriptor is whole");
    let broken = broken(frozen, ctl_api::DESCRIPTOR);
    assert!(broken.is_empty(), "version 1 is frozen; add fields instead:\n{}", broken.join("\n"));
}

#[test]
fn a_removed_renumbered_retyped_or_renamed_field_is_found_and_an_added_one_is_not() {
    type Spoil = fn(&mut DescriptorProto);
    let spoils: [Spoil; 4] = [
        |message| drop(message.field.pop()),
        |message| message.field[0].number = Some(99),
        |message| message.field[0].r#type = Some(3),
        |message| message.field[0].name = Some("other".to_owned()),
    ];
    let spoiled = |spoil: Spoil| {
        let mut set = FileDescriptorSet::decode(ctl_api::DESCRIPTOR).unwrap();
        let file = set.file.iter_mut().find(|file| file.package() == "bcast.v1").unwrap();
        spoil(file.message_type.iter_mut().find(|message| message.name() == "Tep").unwrap());
        set.encode_to_vec()
    };
    for spoil in spoils {
        assert!(!broken(ctl_api::DESCRIPTOR, &spoiled(spoil)).is_empty());
    }
    let more = spoiled(|message| {
        let added = message.field[0].clone();
        message.field.push(prost_types::FieldDescriptorProto {
            number: Some(50),
            name: Some("more".to_owned()),
            ..added
        });
    });
    assert_eq!(broken(ctl_api::DESCRIPTOR, &more), Vec::<String>::new());
}
