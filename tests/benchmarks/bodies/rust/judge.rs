// Copyright: Contributors to the egress.ai_gateway project
// SPDX-License-Identifier: GPL-3.0-or-later

//! A strict reader of JSON that keeps nothing but the names of the objects it is in.

use std::borrow::Cow;
use std::collections::HashSet;

const DEEPEST: usize = 60;
/// Up to so many names are compared one by one.
const FEW: usize = 8;

pub struct Refused;

struct Reader<'a> {
    body: &'a [u8],
    position: usize,
    model: bool,
}

/// Whether a body is an object with a string named `model`, in JSON that has only one reading.
pub fn judge(body: &[u8]) -> Result<(), Refused> {
    std::str::from_utf8(body).map_err(|_| Refused)?;
    let mut reader = Reader { body, position: 0, model: false };
    reader.space();
    reader.value(0)?;
    reader.space();
    if reader.position == body.len() && reader.model { Ok(()) } else { Err(Refused) }
}

impl<'a> Reader<'a> {
    fn next(&self) -> u8 {
        self.body.get(self.position).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.next(), b' ' | b'\n' | b'\r' | b'\t') {
            self.position += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), Refused> {
        if self.next() != byte {
            return Err(Refused);
        }
        self.position += 1;
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Refused> {
        let start = self.position;
        while self.next().is_ascii_digit() {
            self.position += 1;
        }
        if self.position > start { Ok(()) } else { Err(Refused) }
    }

    fn number(&mut self) -> Result<(), Refused> {
        if self.next() == b'-' {
            self.position += 1;
        }
        if self.next() == b'0' { self.position += 1 } else { self.digits()? }
        if self.next() == b'.' {
            self.position += 1;
            self.digits()?;
        }
        if matches!(self.next(), b'e' | b'E') {
            self.position += 1;
            if matches!(self.next(), b'+' | b'-') {
                self.position += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// The number of the four hexadecimal digits that follow.
    fn code(&mut self) -> Result<u32, Refused> {
        let digits = self.body.get(self.position..self.position + 4).ok_or(Refused)?;
        self.position += 4;
        digits.iter().try_fold(0, |code, digit| Ok(code * 16 + (*digit as char).to_digit(16).ok_or(Refused)?))
    }

    /// The character of an escape whose backslash is passed.
    fn escape(&mut self) -> Result<char, Refused> {
        let kind = self.next();
        self.position += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => kind as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut code = self.code()?;
                if code & 0xfc00 == 0xd800 {
                    self.take(b'\\')?;
                    self.take(b'u')?;
                    let low = self.code()?;
                    if low & 0xfc00 != 0xdc00 {
                        return Err(Refused);
                    }
                    code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff);
                }
                char::from_u32(code).ok_or(Refused)?
            }
            _ => return Err(Refused),
        })
    }

    /// What a string means; its characters are put together only where it has escapes and is a name.
    fn string(&mut self, name: bool) -> Result<Cow<'a, [u8]>, Refused> {
        self.take(b'"')?;
        let mut start = self.position;
        let mut whole: Option<Vec<u8>> = None;
        loop {
            match self.next() {
                b'"' => break,
                b'\\' => {
                    let plain = &self.body[start..self.position];
                    self.position += 1;
                    let character = self.escape()?;
                    if name {
                        let whole = whole.get_or_insert_with(Vec::new);
                        whole.extend_from_slice(plain);
                        whole.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                    start = self.position;
                }
                ..b' ' => return Err(Refused),
                _ => self.position += 1,
            }
        }
        let rest = &self.body[start..self.position];
        self.position += 1;
        Ok(match whole {
            Some(mut whole) => {
                whole.extend_from_slice(rest);
                Cow::Owned(whole)
            }
            None => Cow::Borrowed(rest),
        })
    }

    fn object(&mut self, depth: usize) -> Result<(), Refused> {
        self.position += 1;
        self.space();
        if self.next() == b'}' {
            self.position += 1;
            return Ok(());
        }
        let mut few: Vec<Cow<'a, [u8]>> = Vec::new();
        let mut many: HashSet<Cow<'a, [u8]>> = HashSet::new();
        loop {
            let name = self.string(true)?;
            self.space();
            self.take(b':')?;
            self.space();
            if depth == 0 && name.as_ref() == b"model" {
                if self.next() != b'"' {
                    return Err(Refused);
                }
                self.model = true;
            }
            if few.len() < FEW {
                if few.contains(&name) {
                    return Err(Refused);
                }
                few.push(name);
            } else if few.contains(&name) || !many.insert(name) {
                return Err(Refused);
            }
            self.value(depth + 1)?;
            self.space();
            if self.next() == b'}' {
                self.position += 1;
                return Ok(());
            }
            self.take(b',')?;
            self.space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Refused> {
        self.position += 1;
        self.space();
        if self.next() == b']' {
            self.position += 1;
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            if self.next() == b']' {
                self.position += 1;
                return Ok(());
            }
            self.take(b',')?;
            self.space();
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Refused> {
        if !self.body[self.position..].starts_with(word) {
            return Err(Refused);
        }
        self.position += word.len();
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<(), Refused> {
        match self.next() {
            b'{' | b'[' if depth == DEEPEST => Err(Refused),
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(false).map(|_| ()),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }
}
