//! Another message of the same outline: every text and all bytes in it say
//! something else, in as many bytes. Whatever can be printed of a message must
//! be the same for both.

use std::{collections::HashMap, sync::LazyLock};

use opamp_wire::{FILE_DESCRIPTOR_SET, Message as _};
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};

/// What the content of a length-delimited field is.
enum Content {
    Text,
    Bytes,
    /// Names an agent, and is printed.
    Name,
    Message(String),
}

/// By full name of the message and number of the field.
static FIELDS: LazyLock<HashMap<String, HashMap<u64, Content>>> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let mut all = HashMap::new();
    for message in set.file.iter().flat_map(|file| &file.message_type) {
        let path = path(message.name());
        for entry in &message.nested_type {
            all.insert(format!("{path}.{}", entry.name()), contents(entry));
        }
        all.insert(path, contents(message));
    }
    all
});

fn path(name: &str) -> String {
    format!(".opamp.proto.{name}")
}

fn contents(message: &DescriptorProto) -> HashMap<u64, Content> {
    let content = |field: &prost_types::FieldDescriptorProto| {
        let content = match (field.r#type(), field.name()) {
            (_, "instance_uid" | "new_instance_uid") => Content::Name,
            (Type::String, _) => Content::Text,
            (Type::Bytes, _) => Content::Bytes,
            (Type::Message, _) => Content::Message(field.type_name().to_owned()),
            _ => return None,
        };
        Some((u64::try_from(field.number()).ok()?, content))
    };
    message.field.iter().filter_map(content).collect()
}

/// Changes a frame that was read as message `name`.
pub(crate) fn disguise(name: &str, frame: &mut [u8]) {
    let mut rest = Rest(frame);
    rest.varint();
    message(&path(name), rest);
}

fn message(path: &str, mut rest: Rest<'_>) {
    let fields = FIELDS.get(path).expect("a message of the protocol");
    // Inside a group, which no message of ours has, nothing has a meaning.
    let mut groups = 0_u32;
    while let Some(tag) = rest.varint() {
        let content = fields.get(&(tag >> 3)).filter(|_| groups == 0);
        match tag & 7 {
            0 => drop(rest.varint()),
            1 => drop(rest.take(8)),
            5 => drop(rest.take(4)),
            3 => groups += 1,
            4 => groups = groups.saturating_sub(1),
            _ => {
                let length = rest
                    .varint()
                    .and_then(|length| usize::try_from(length).ok());
                let data = rest.take(length.expect("a length that was read before"));
                match content {
                    Some(Content::Message(path)) => message(path, Rest(data)),
                    // One-to-one, so that keys of a map stay as many; and what
                    // is text stays text.
                    Some(Content::Text) => data
                        .iter_mut()
                        .filter(|byte| byte.is_ascii())
                        .for_each(|byte| *byte ^= 1),
                    Some(Content::Bytes) => data.iter_mut().for_each(|byte| *byte ^= 1),
                    Some(Content::Name) | None => {}
                }
            }
        }
    }
}

/// What is left of a message.
struct Rest<'a>(&'a mut [u8]);

impl<'a> Rest<'a> {
    /// Reads a number; none at the end.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..).step_by(7) {
            let byte = *self.take(1).first()?;
            value |= u64::from(byte & 0x7f)
                .checked_shl(shift)
                .unwrap_or_default();
            if byte & 0x80 == 0 {
                break;
            }
        }
        Some(value)
    }

    /// The next bytes, as many as there are.
    fn take(&mut self, count: usize) -> &'a mut [u8] {
        let all = std::mem::take(&mut self.0);
        let (taken, left) = all.split_at_mut(count.min(all.len()));
        self.0 = left;
        taken
    }
}
