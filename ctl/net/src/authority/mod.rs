//! The `:authority` of HTTP/2 requests over a Unix socket.
//!
//! Some gRPC clients send the socket's path there, as it is or percent-encoded: C core (Python, C++, Ruby, PHP), Java,
//! Swift. That is no authority of a URI (RFC 3986, section 3.2), and `h2` resets such a stream with PROTOCOL_ERROR.
//! Nobody uses the value here. So [`Filter`] stands between the socket and `h2` and gives the header a value that is an
//! authority, and passes on all else as it came, whatever it is: `h2` is the judge of that.

mod hpack;
mod huffman;
#[cfg(test)]
mod tests;

use hpack::Headers;

/// Connection preface of a client (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head (RFC 9113, section 4.1).
const HEAD: usize = 9;
/// Bytes of a frame's payload at most: the default of SETTINGS_MAX_FRAME_SIZE, which the server does not change.
const FRAME_BYTES: usize = 16_384;
/// Bytes of the frames of one header block that are held at most. A longer block is passed on as it came.
const HELD_BYTES: usize = 64 << 10;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Filter of the bytes from a client to `h2`.
///
/// It holds the frames of one header block, at most 64 KiB, until the block is whole. Once it meets what it cannot
/// follow (no HTTP/2, a frame over the limit, a block that is not HPACK) it passes on everything.
#[derive(Debug, Default)]
pub struct Filter {
    state: State,
    headers: Headers,
    /// Frames of a header block, or the head of a frame; as they came.
    held: Vec<u8>,
    /// Start in `held` of the frame that is being received.
    frame: usize,
    /// Bytes of `held` with which that frame's head, then the frame, is whole.
    wanted: usize,
}

/// Next part of the stream.
#[derive(Debug, Clone, Copy)]
enum State {
    /// The preface, of which so many bytes were seen.
    Preface(usize),
    /// A frame that is held.
    Holding,
    /// So many bytes of a frame that is none of a header block's.
    Passing(usize),
    /// Anything: nothing is looked at any more.
    Open,
}

impl Default for State {
    fn default() -> Self {
        Self::Preface(0)
    }
}

/// A frame's head.
#[derive(Debug, Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, s0, s1, s2, s3] = bytes.first_chunk::<HEAD>()?;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Some(Self { length, kind, flags, stream: [s0, s1, s2, s3] })
    }

    fn write(self, to: &mut Vec<u8>) {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX).to_be_bytes();
        to.extend_from_slice(&length[1..]);
        to.extend([self.kind, self.flags]);
        to.extend(self.stream);
    }
}

impl Filter {
    /// The preface is whole: the peer speaks HTTP/2.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        !matches!(self.state, State::Preface(_))
    }

    /// Takes what was received, and appends to `out` what is to be passed on by now.
    pub fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            let taken = match self.state {
                State::Preface(seen) => self.preface(seen, input, out),
                State::Passing(left) => {
                    let taken = left.min(input.len());
                    out.extend_from_slice(input.get(..taken).unwrap_or_default());
                    self.state = if taken < left { State::Passing(left - taken) } else { State::Holding };
                    taken
                }
                State::Holding => self.hold(input, out),
                State::Open => {
                    out.extend_from_slice(input);
                    input.len()
                }
            };
            input = input.get(taken..).unwrap_or_default();
        }
    }

    /// The client sends no more: what is held is passed on as it came.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        self.open(out);
    }

    fn preface(&mut self, seen: usize, input: &[u8], out: &mut Vec<u8>) -> usize {
        let expected = PREFACE.get(seen..).unwrap_or_default();
        let taken = expected.len().min(input.len());
        let (input, expected) = (input.get(..taken).unwrap_or_default(), expected.get(..taken));
        out.extend_from_slice(input);
        self.state = match expected == Some(input) {
            false => State::Open,
            true if seen + taken < PREFACE.len() => State::Preface(seen + taken),
            true => {
                self.expect(0);
                State::Holding
            }
        };
        taken
    }

    /// A frame starts in `held` here.
    fn expect(&mut self, at: usize) {
        self.frame = at;
        self.wanted = at + HEAD;
    }

    fn hold(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let taken = self.wanted.saturating_sub(self.held.len()).min(input.len());
        self.held.extend_from_slice(input.get(..taken).unwrap_or_default());
        while matches!(self.state, State::Holding) && self.held.len() == self.wanted {
            self.advance(out);
        }
        taken
    }

    /// A frame's head is whole, or the frame.
    fn advance(&mut self, out: &mut Vec<u8>) {
        let Some(head) = self.held.get(self.frame..).and_then(Head::read) else { return self.open(out) };
        let first = self.frame == 0;
        let end = self.frame + HEAD + head.length;
        if first && head.kind != HEADERS {
            out.append(&mut self.held);
            self.expect(0);
            self.state = if head.length > 0 { State::Passing(head.length) } else { State::Holding };
        } else if !self.belongs(head) || head.length > FRAME_BYTES || end > HELD_BYTES {
            self.open(out);
        } else if self.held.len() < end {
            self.wanted = end;
        } else if head.flags & END_HEADERS == 0 {
            self.expect(end);
        } else {
            self.conclude(out);
        }
    }

    /// A header block is HEADERS, then CONTINUATION of the same stream (RFC 9113, section 6.10).
    fn belongs(&self, head: Head) -> bool {
        let first = Head::read(&self.held);
        self.frame == 0 || head.kind == CONTINUATION && first.is_some_and(|first| first.stream == head.stream)
    }

    /// The block is whole.
    fn conclude(&mut self, out: &mut Vec<u8>) {
        let Some(block) = Block::gather(&self.held) else { return self.open(out) };
        match self.headers.rewrite(&block.fragments) {
            Ok(None) => out.append(&mut self.held),
            Ok(Some(fragments)) => {
                Block { fragments, ..block }.write(out);
                self.held.clear();
            }
            Err(hpack::Unreadable) => return self.open(out),
        }
        self.expect(0);
    }

    /// From here on everything is passed on as it comes.
    fn open(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.state = State::Open;
    }
}

/// A header block, out of its frames.
struct Block {
    first: Head,
    priority: Vec<u8>,
    fragments: Vec<u8>,
}

impl Block {
    /// `None`: a frame's padding or priority does not fit into it.
    fn gather(mut frames: &[u8]) -> Option<Self> {
        let first = Head::read(frames)?;
        let mut payload = frames.get(HEAD..HEAD + first.length)?;
        if first.flags & PADDED != 0 {
            let (&padding, rest) = payload.split_first()?;
            payload = rest.get(..rest.len().checked_sub(padding.into())?)?;
        }
        let at = if first.flags & PRIORITY != 0 { 5 } else { 0 };
        let (priority, fragment) = payload.split_at_checked(at)?;
        let mut block = Self { first, priority: priority.to_vec(), fragments: fragment.to_vec() };
        frames = frames.get(HEAD + first.length..)?;
        while let Some(head) = Head::read(frames) {
            block.fragments.extend_from_slice(frames.get(HEAD..HEAD + head.length)?);
            frames = frames.get(HEAD + head.length..)?;
        }
        Some(block)
    }

    /// Writes the frames anew, without padding.
    fn write(&self, out: &mut Vec<u8>) {
        let room = FRAME_BYTES - self.priority.len();
        let (mut part, mut rest) = self.fragments.split_at(self.fragments.len().min(room));
        let end = |rest: &[u8]| if rest.is_empty() { END_HEADERS } else { 0 };
        let flags = self.first.flags & !(PADDED | END_HEADERS) | end(rest);
        Head { length: self.priority.len() + part.len(), flags, ..self.first }.write(out);
        out.extend_from_slice(&self.priority);
        out.extend_from_slice(part);
        while !rest.is_empty() {
            (part, rest) = rest.split_at(rest.len().min(FRAME_BYTES));
            let head =
                Head { length: part.len(), kind: CONTINUATION, flags: end(rest), stream: self.first.stream };
            head.write(out);
            out.extend_from_slice(part);
        }
    }
}
