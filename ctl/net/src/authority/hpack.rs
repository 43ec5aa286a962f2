//! Header blocks (HPACK, RFC 7541), read as far as it takes to give `:authority` a value that is one.
//!
//! All other bytes of a block stay as they are. A value is replaced by one of the same decoded length, so that the entry
//! that the receiver makes of it in its dynamic table has the same size (RFC 7541, section 4.1): nothing that comes after
//! it has to be changed, and the table that is kept here is the receiver's.

use std::collections::VecDeque;

use http::uri::Authority;

use super::huffman;

/// Index of `:authority` in the static table (RFC 7541, appendix A).
const AUTHORITY: usize = 1;
const AUTHORITY_NAME: &[u8] = b":authority";
/// Overhead of a table entry beside its name and value, bytes (RFC 7541, section 4.1).
const ENTRY: usize = 32;
/// Bytes of the dynamic table at most: the default of SETTINGS_HEADER_TABLE_SIZE, which the server never changes.
const TABLE_BYTES: usize = 4_096;
/// Lengths of the names in the static table, from index 1 on (RFC 7541, appendix A).
const STATIC_NAMES: [usize; 61] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14, 16, 13,
    12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10, 25, 17, 10, 4, 3,
    16,
];

/// The block cannot be read; what follows on the connection cannot be either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// An entry of the dynamic table.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name_bytes: usize,
    value_bytes: usize,
    is_authority: bool,
}

impl Entry {
    fn size(self) -> usize {
        self.name_bytes + self.value_bytes + ENTRY
    }
}

/// The receiver's dynamic table (RFC 7541, section 2.3.2), without the texts.
#[derive(Debug)]
pub struct Headers {
    /// The newest first.
    entries: VecDeque<Entry>,
    bytes: usize,
    most: usize,
}

impl Default for Headers {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0, most: TABLE_BYTES }
    }
}

impl Headers {
    /// Takes note of a block. `Some`: the block to send in its place, with an `:authority` that is one.
    ///
    /// # Errors
    ///
    /// The block is not HPACK, or not within the limits of this connection.
    pub fn rewrite(&mut self, block: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        let mut input = Input { block, at: 0 };
        let mut output = Output { block, done: 0, bytes: Vec::new() };
        while let Some(&first) = block.get(input.at) {
            let start = input.at;
            match first {
                0x80.. => self.indexed(&mut input, start, &mut output)?,
                0x40.. => self.literal(&mut input, 6, &mut output)?,
                0x20.. => {
                    let most = input.integer(5)?;
                    if most > TABLE_BYTES {
                        return Err(Unreadable);
                    }
                    self.most = most;
                    self.evict(0);
                }
                _ => self.literal(&mut input, 4, &mut output)?,
            }
        }
        Ok(output.finish())
    }

    /// RFC 7541, section 6.1. The static `:authority` has no value, which is no authority either.
    fn indexed(
        &self,
        input: &mut Input<'_>,
        start: usize,
        output: &mut Output<'_>,
    ) -> Result<(), Unreadable> {
        match input.integer(7)? {
            0 => return Err(Unreadable),
            // Literal without indexing, of the same name.
            AUTHORITY => output.replace(start, input.at, &[0x01, 0x01, b'x']),
            index => drop(self.name(index)?),
        }
        Ok(())
    }

    /// RFC 7541, section 6.2; a prefix of six bits says that the receiver makes an entry of it.
    fn literal(
        &mut self,
        input: &mut Input<'_>,
        prefix: u32,
        output: &mut Output<'_>,
    ) -> Result<(), Unreadable> {
        let indexes = prefix == 6;
        let (name_bytes, is_authority) = match input.integer(prefix)? {
            0 => {
                let name = input.string()?.decoded()?;
                (name.len(), name == AUTHORITY_NAME)
            }
            index => self.name(index)?,
        };
        let start = input.at;
        let value = input.string()?;
        if !is_authority && !indexes {
            return Ok(());
        }
        let value = value.decoded()?;
        if is_authority && Authority::try_from(&value[..]).is_err() {
            // No value of no bytes is an authority. With indexing one of a byte would be an entry of another size: that is
            // for the receiver to judge.
            match value.len() {
                0 if indexes => {}
                length => output.replace(start, input.at, &placeholder(length.max(1))),
            }
        }
        if indexes {
            self.insert(Entry { name_bytes, value_bytes: value.len(), is_authority });
        }
        Ok(())
    }

    /// The length of a name in bytes, and whether it is `:authority`.
    fn name(&self, index: usize) -> Result<(usize, bool), Unreadable> {
        let place = index.checked_sub(1).ok_or(Unreadable)?;
        if let Some(&bytes) = STATIC_NAMES.get(place) {
            return Ok((bytes, index == AUTHORITY));
        }
        let entry = self.entries.get(place - STATIC_NAMES.len()).ok_or(Unreadable)?;
        Ok((entry.name_bytes, entry.is_authority))
    }

    /// RFC 7541, section 4.4: an entry that is larger than the table empties it.
    fn insert(&mut self, entry: Entry) {
        self.evict(entry.size());
        if entry.size() <= self.most {
            self.bytes += entry.size();
            self.entries.push_front(entry);
        }
    }

    /// Makes room for so many bytes.
    fn evict(&mut self, bytes: usize) {
        while self.bytes + bytes > self.most
            && let Some(oldest) = self.entries.pop_back()
        {
            self.bytes -= oldest.size();
        }
    }
}

/// A string literal without Huffman code: a host name of so many bytes.
fn placeholder(bytes: usize) -> Vec<u8> {
    let mut literal = Vec::with_capacity(bytes + 4);
    let mut rest = bytes;
    if rest < 0x7f {
        literal.extend(u8::try_from(rest));
    } else {
        literal.push(0x7f);
        rest -= 0x7f;
        while rest >= 0x80 {
            literal.extend(u8::try_from(rest & 0x7f).map(|low| low | 0x80));
            rest >>= 7;
        }
        literal.extend(u8::try_from(rest));
    }
    literal.resize(literal.len() + bytes, b'x');
    literal
}

/// A block as it is read.
struct Input<'b> {
    block: &'b [u8],
    at: usize,
}

impl<'b> Input<'b> {
    fn byte(&mut self) -> Result<u8, Unreadable> {
        let byte = self.block.get(self.at).copied().ok_or(Unreadable)?;
        self.at += 1;
        Ok(byte)
    }

    /// RFC 7541, section 5.1: an integer whose first bits are the last `prefix` of a byte. At most 28 bits more.
    fn integer(&mut self, prefix: u32) -> Result<usize, Unreadable> {
        let mask = (1_u8 << prefix) - 1;
        let first = self.byte()? & mask;
        let mut value = usize::from(first);
        if first < mask {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Unreadable)
    }

    /// RFC 7541, section 5.2.
    fn string(&mut self) -> Result<Text<'b>, Unreadable> {
        let huffman = self.block.get(self.at).is_some_and(|byte| byte & 0x80 != 0);
        let length = self.integer(7)?;
        let end = self.at.checked_add(length).ok_or(Unreadable)?;
        let bytes = self.block.get(self.at..end).ok_or(Unreadable)?;
        self.at = end;
        Ok(Text { bytes, huffman })
    }
}

/// A string literal.
struct Text<'b> {
    bytes: &'b [u8],
    huffman: bool,
}

impl Text<'_> {
    fn decoded(&self) -> Result<Vec<u8>, Unreadable> {
        match self.huffman {
            true => huffman::decode(self.bytes).ok_or(Unreadable),
            false => Ok(self.bytes.to_vec()),
        }
    }
}

/// The block to send: what is not replaced is copied.
struct Output<'b> {
    block: &'b [u8],
    /// Up to here `block` is in `bytes`.
    done: usize,
    bytes: Vec<u8>,
}

impl Output<'_> {
    fn replace(&mut self, start: usize, end: usize, by: &[u8]) {
        self.bytes.extend_from_slice(self.block.get(self.done..start).unwrap_or_default());
        self.bytes.extend_from_slice(by);
        self.done = end;
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        if self.done == 0 {
            return None;
        }
        self.bytes.extend_from_slice(self.block.get(self.done..).unwrap_or_default());
        Some(self.bytes)
    }
}
