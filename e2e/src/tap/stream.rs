//! One direction of one connection, cut into HTTP heads, bodies and WebSocket
//! messages.  It reads a copy: what is forwarded never passes through here.

use opamp_wire::{Encoding, decompress};

/// What a direction holds, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Head(Head),
    /// A whole HTTP body or WebSocket message.
    Message(Vec<u8>),
    /// A WebSocket close frame with its code.
    Close(Option<u16>),
    /// Nothing after this can be understood.
    Broken(String),
}

/// The first line and the headers of a request or response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) first_line: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        let found = |(have, _): &&(String, String)| have.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(found)
            .map(|(_, value)| value.as_str())
    }

    /// The status code of a response; none in a request.
    pub(super) fn status(&self) -> Option<u16> {
        let mut words = self.first_line.split(' ');
        words.next().filter(|word| word.starts_with("HTTP/"))?;
        words.next()?.parse().ok()
    }

    /// Whether WebSocket frames follow.
    pub(super) fn is_websocket(&self) -> bool {
        let upgrade = self.header("upgrade");
        upgrade.is_some_and(|to| to.eq_ignore_ascii_case("websocket"))
    }

    fn after(&self) -> State {
        if self.is_websocket() {
            return State::Frames(Vec::new());
        }
        let chunked = self.header("transfer-encoding").map(|_| Length::Chunked);
        let length = self.header("content-length").unwrap_or("0");
        let length = chunked.or_else(|| Some(Length::Known(length.parse().ok()?)));
        let encoding = Encoding::parse(self.header("content-encoding").unwrap_or_default());
        match (length, encoding) {
            (Some(Length::Known(0)), _) => State::Head,
            (Some(length), Ok(encoding)) => State::Body(length, encoding),
            _ => State::Lost,
        }
    }
}

/// More than any message the tests send.
const LIMIT: usize = 8 * 1024 * 1024;

#[derive(Clone, Copy, Debug)]
enum Length {
    Known(usize),
    Chunked,
}

#[derive(Debug)]
enum State {
    Head,
    /// A body in this encoding.
    Body(Length, Encoding),
    /// WebSocket frames; holds the fragments of a message so far.
    Frames(Vec<u8>),
    Lost,
}

/// Cuts a stream of bytes.
#[derive(Debug)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    state: State,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            state: State::Head,
        }
    }

    /// Takes bytes and returns what they complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        if matches!(self.state, State::Lost) {
            return items;
        }
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.step() {
                Ok(Some(item)) => items.push(item),
                Ok(None) if self.buffer.len() <= LIMIT => return items,
                Ok(None) => return self.lose(items, "a message above the tap's limit".into()),
                Err(why) => return self.lose(items, why),
            }
        }
    }

    fn lose(&mut self, mut items: Vec<Item>, why: String) -> Vec<Item> {
        self.state = State::Lost;
        self.buffer = Vec::new();
        items.push(Item::Broken(why));
        items
    }

    /// The next item; none when more bytes are needed.
    fn step(&mut self) -> Result<Option<Item>, String> {
        match &mut self.state {
            State::Lost => Err("a body without a length, or in an unknown encoding".into()),
            State::Head => {
                let Some((head, length)) = parse_head(&self.buffer)? else {
                    return Ok(None);
                };
                self.buffer.drain(..length);
                self.state = head.after();
                Ok(Some(Item::Head(head)))
            }
            State::Body(length, encoding) => {
                let whole = match length {
                    Length::Known(length) => self
                        .buffer
                        .get(..*length)
                        .map(|body| (body.to_vec(), *length)),
                    Length::Chunked => parse_chunks(&self.buffer)?,
                };
                let Some((body, length)) = whole else {
                    return Ok(None);
                };
                self.buffer.drain(..length);
                let body = decompress(*encoding, &body, LIMIT).map_err(|why| why.to_string())?;
                self.state = State::Head;
                Ok(Some(Item::Message(body.to_vec())))
            }
            State::Frames(message) => {
                while let Some((frame, length)) = parse_frame(&self.buffer)? {
                    self.buffer.drain(..length);
                    match frame.opcode {
                        0..=2 => message.extend_from_slice(&frame.payload),
                        8 => return Ok(Some(Item::Close(frame.close_code()))),
                        _ => continue,
                    }
                    if frame.last {
                        return Ok(Some(Item::Message(std::mem::take(message))));
                    }
                }
                Ok(None)
            }
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Head, usize)>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = bytes.get(..end).unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|_| "a head that is not text".to_owned())?;
    let mut lines = text.split("\r\n");
    let first_line = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let head = Head {
        first_line,
        headers,
    };
    Ok(Some((head, end + 4)))
}

/// A whole chunked body and its length on the wire; none when more bytes are needed.
fn parse_chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = rest
            .get(..line)
            .and_then(|size| std::str::from_utf8(size).ok());
        let size = size.and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.filter(|size| *size <= LIMIT).ok_or("a bad chunk")?;
        let start = line + 2;
        // Agents send no trailers: the last chunk is followed by an empty line.
        let (Some(chunk), Some(_)) = (
            rest.get(start..start + size),
            rest.get(start + size..start + size + 2),
        ) else {
            return Ok(None);
        };
        body.extend_from_slice(chunk);
        at += start + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

struct Frame {
    last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

impl Frame {
    fn close_code(&self) -> Option<u16> {
        let code = self.payload.get(..2)?;
        Some(u16::from_be_bytes(code.try_into().ok()?))
    }
}

/// A WebSocket frame and its length on the wire; none when more bytes are needed.
fn parse_frame(bytes: &[u8]) -> Result<Option<(Frame, usize)>, String> {
    let [first, second, ..] = bytes else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err("a frame with an extension (compressed?)".into());
    }
    let masked = second & 0x80 != 0;
    let (length, header) = match second & 0x7f {
        126 => (number(bytes, 2, 2), 4),
        127 => (number(bytes, 2, 8), 10),
        short => (Some(u64::from(short)), 2),
    };
    let Some(length) = length else {
        return Ok(None);
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > LIMIT {
        return Err("a frame above the tap's limit".into());
    }
    let start = header + if masked { 4 } else { 0 };
    let (Some(mask), Some(payload)) = (bytes.get(header..start), bytes.get(start..start + length))
    else {
        return Ok(None);
    };
    let payload = payload
        .iter()
        .enumerate()
        .map(|(at, byte)| byte ^ mask.get(at % 4).unwrap_or(&0))
        .collect();
    let frame = Frame {
        last: first & 0x80 != 0,
        opcode: first & 0x0f,
        payload,
    };
    Ok(Some((frame, start + length)))
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let field = bytes.get(at..at + width)?;
    Some(
        field
            .iter()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE: &[u8] =
        b"GET /v1/opamp HTTP/1.1\r\nUpgrade: websocket\r\nAuthorization: Bearer x\r\n\r\n";

    /// Masked text in two fragments with a ping between, then a close.
    fn frames() -> Vec<u8> {
        let mut bytes = vec![0x02, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'e' ^ 2];
        bytes.extend([0x89, 0x80, 0, 0, 0, 0]);
        bytes.extend([0x80, 0x81, 9, 9, 9, 9, b'y' ^ 9]);
        bytes.extend([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]);
        bytes
    }

    fn check(items: &[Item]) {
        let [Item::Head(head), message, close] = items else {
            panic!("{items:?}");
        };
        assert_eq!(head.header("authorization"), Some("Bearer x"));
        assert_eq!(head.status(), None);
        assert_eq!(*message, Item::Message(b"hey".to_vec()));
        assert_eq!(*close, Item::Close(Some(1000)));
    }

    #[test]
    fn cuts_do_not_depend_on_how_the_bytes_arrive() {
        let all = [UPGRADE, &frames()].concat();
        check(&Decoder::new().feed(&all));
        let mut decoder = Decoder::new();
        let items: Vec<Item> = all.iter().flat_map(|byte| decoder.feed(&[*byte])).collect();
        check(&items);
    }

    #[test]
    fn long_frames_have_long_lengths() {
        let mut bytes = UPGRADE.to_vec();
        bytes.extend([0x82, 126, 0x01, 0x00]);
        bytes.extend([7; 256]);
        bytes.extend([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        bytes.extend(vec![8; 65536]);
        let items = Decoder::new().feed(&bytes);
        let lengths: Vec<usize> = items
            .iter()
            .filter_map(|item| match item {
                Item::Message(message) => Some(message.len()),
                _ => None,
            })
            .collect();
        assert_eq!(lengths, [256, 65536]);
    }

    #[test]
    fn polls_are_heads_and_bodies() {
        let bytes = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\n\r\n";
        let items = Decoder::new().feed(bytes);
        assert_eq!(items.len(), 3);
        assert_eq!(items[1], Item::Message(b"abc".to_vec()));
    }

    #[test]
    fn a_chunked_body_is_put_together() {
        let bytes = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                      3\r\nabc\r\n1\r\nd\r\n0\r\n\r\nPOST / HTTP/1.1\r\n\r\n";
        let mut decoder = Decoder::new();
        let items: Vec<Item> = bytes
            .iter()
            .flat_map(|byte| decoder.feed(&[*byte]))
            .collect();
        assert_eq!(items.len(), 3);
        assert_eq!(items[1], Item::Message(b"abcd".to_vec()));
    }

    #[test]
    fn a_compressed_body_is_read() {
        let body = opamp_wire::gzip(b"abc");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let items = Decoder::new().feed(&[head.as_bytes(), &body].concat());
        assert_eq!(items[1], Item::Message(b"abc".to_vec()));
    }

    #[test]
    fn what_it_cannot_read_is_said_once() {
        let mut decoder = Decoder::new();
        decoder.feed(UPGRADE);
        let items = decoder.feed(&[0xc2, 0x00]);
        assert!(matches!(items[..], [Item::Broken(_)]), "{items:?}");
        assert!(decoder.feed(&[0x82, 0]).is_empty());
    }

    #[test]
    fn a_response_has_a_status() {
        let items = Decoder::new().feed(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        let [Item::Head(head)] = &items[..] else {
            panic!("{items:?}");
        };
        assert_eq!(head.status(), Some(401));
    }
}
