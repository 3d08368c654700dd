//! Finds the frames in a stream of bytes, in whatever pieces it comes, and holds nothing but the head of the one at hand.

/// Length, API key, version, correlation id.
pub(super) const REQUEST_HEAD_BYTES: usize = 12;
/// Length, correlation id.
pub(super) const ANSWER_HEAD_BYTES: usize = 8;
/// The length in front of a frame, which it does not count.
pub(super) const LENGTH_BYTES: usize = 4;

/// A length that no frame of Kafka's protocol has: the stream can't be understood any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes is announced, which is no frame of Kafka's protocol (is it TLS?)")]
pub(super) struct ImpossibleLength(i32);

/// What stands in front of a frame's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    bytes: [u8; REQUEST_HEAD_BYTES],
    filled: usize,
}

impl Head {
    /// The bytes as they came, the length in front.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Bytes of the whole frame, with the length in front.
    pub(super) fn frame_bytes(&self) -> usize {
        // It was held against zero when it came.
        LENGTH_BYTES + self.length().unsigned_abs() as usize
    }

    /// What a request is: API key, version, correlation id.
    pub(super) fn request(&self) -> (i16, i16, i32) {
        let [_, _, _, _, k0, k1, v0, v1, c0, c1, c2, c3] = self.bytes;
        (
            i16::from_be_bytes([k0, k1]),
            i16::from_be_bytes([v0, v1]),
            i32::from_be_bytes([c0, c1, c2, c3]),
        )
    }

    /// Which request an answer belongs to.
    pub(super) fn answer(&self) -> i32 {
        let [_, _, _, _, c0, c1, c2, c3, ..] = self.bytes;
        i32::from_be_bytes([c0, c1, c2, c3])
    }

    fn length(&self) -> i32 {
        let [l0, l1, l2, l3, ..] = self.bytes;
        i32::from_be_bytes([l0, l1, l2, l3])
    }
}

/// The next stretch of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A frame begins; its head is whole.
    Head(Head),
    /// Bytes behind the head.
    Body(&'a [u8]),
    /// The frame is whole.
    End,
}

/// The state between two reads of one direction of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    head_bytes: usize,
    head: Head,
    /// Bytes of the body that have not come.
    left: usize,
}

impl Frames {
    /// Frames whose first `head_bytes` bytes are handed out together: one of the two constants above.
    pub(super) fn new(head_bytes: usize) -> Self {
        Self {
            head_bytes,
            head: Head {
                bytes: [0; REQUEST_HEAD_BYTES],
                filled: 0,
            },
            left: 0,
        }
    }

    /// Takes the next piece off the front of `bytes`; `None` when more have to come first.
    ///
    /// # Errors
    /// A length that is negative or too small for a head.
    pub(super) fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<Piece<'a>>, ImpossibleLength> {
        if self.head.filled == self.head_bytes {
            if self.left == 0 {
                self.head.filled = 0;
                return Ok(Some(Piece::End));
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            let (body, rest) = bytes.split_at(self.left.min(bytes.len()));
            *bytes = rest;
            self.left -= body.len();
            return Ok(Some(Piece::Body(body)));
        }
        let wanted = (self.head_bytes - self.head.filled).min(bytes.len());
        let (head, rest) = bytes.split_at(wanted);
        self.head.bytes[self.head.filled..self.head.filled + wanted].copy_from_slice(head);
        self.head.filled += wanted;
        *bytes = rest;
        if self.head.filled >= LENGTH_BYTES {
            let length = self.head.length();
            let body = usize::try_from(length)
                .ok()
                .and_then(|length| (length + LENGTH_BYTES).checked_sub(self.head_bytes));
            self.left = body.ok_or(ImpossibleLength(length))?;
        }
        Ok((self.head.filled == self.head_bytes).then_some(Piece::Head(self.head)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn frames_are_found_in_any_pieces(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 8..300), 0..20),
            cuts in prop::collection::vec(1_usize..200, 1..40),
        ) {
            let mut stream = Vec::new();
            for body in &bodies {
                stream.extend((body.len() as u32).to_be_bytes());
                stream.extend(body);
            }
            let (mut frames, mut found, mut open) = (Frames::new(REQUEST_HEAD_BYTES), Vec::new(), Vec::<u8>::new());
            let (mut at, mut cuts) = (0, cuts.iter().cycle());
            while at < stream.len() {
                let end = (at + cuts.next().unwrap()).min(stream.len());
                let mut bytes = &stream[at..end];
                while let Some(piece) = frames.next(&mut bytes).unwrap() {
                    match piece {
                        Piece::Head(head) => {
                            prop_assert_eq!(head.frame_bytes(), LENGTH_BYTES + bodies[found.len()].len());
                            open.extend(head.bytes());
                        }
                        Piece::Body(body) => open.extend(body),
                        Piece::End => found.push(std::mem::take(&mut open)),
                    }
                }
                prop_assert!(bytes.is_empty());
                at = end;
            }
            prop_assert_eq!(found.len(), bodies.len());
            prop_assert_eq!(found.concat(), stream);
        }
    }

    #[test]
    fn lengths_that_no_frame_has_are_told_at_their_fourth_byte() {
        for length in [-1, i32::MIN, 0, 7] {
            let mut frames = Frames::new(REQUEST_HEAD_BYTES);
            let bytes = length.to_be_bytes();
            assert_eq!(frames.next(&mut &bytes[..3]), Ok(None));
            assert_eq!(frames.next(&mut &bytes[3..]), Err(ImpossibleLength(length)));
        }
        let mut frames = Frames::new(ANSWER_HEAD_BYTES);
        let mut bytes = &[0, 0, 0, 4, 0, 0, 0, 9][..];
        let Ok(Some(Piece::Head(head))) = frames.next(&mut bytes) else {
            panic!("an answer of its correlation id alone");
        };
        assert_eq!((head.answer(), head.frame_bytes()), (9, 8));
        assert_eq!(frames.next(&mut bytes), Ok(Some(Piece::End)));
    }
}
