//! Counts a server's publications by frame headers alone: no copy, no UTF-8 check, no JSON.

/// What one read brought.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Publications that ended within it.
    pub(crate) publications: u64,
    /// Heartbeats (`{}`) that want an answer.
    pub(crate) pings: u32,
}

/// Why a stream of frames is not what the bench expects.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Unexpected {
    #[error("the server sent a frame of opcode {0:#x}")]
    Opcode(u8),
    #[error("a message of {length} bytes is no number of publications of {unit} bytes")]
    Length { length: u64, unit: u64 },
}

/// One connection's place in its stream of server frames.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct FrameCounter {
    header: [u8; 10],
    have: u8,
    payload_left: u64,
    payload_length: u64,
    in_payload: bool,
}

/// In place of the payload size: each message is one publication, whatever its size.
pub(crate) const ONE_EACH: u64 = u64::MAX;

/// The heartbeat of the client protocol, `{}`.
const PING_BYTES: u64 = 2;

impl FrameCounter {
    /// Takes in what was read. `unit` is the payload size of one publication: a message may hold several,
    /// separated by a newline each. Zero: not known yet, set from the first message.
    pub(crate) fn take(&mut self, mut bytes: &[u8], unit: &mut u64) -> Result<Tally, Unexpected> {
        let mut tally = Tally::default();
        loop {
            if self.in_payload {
                let step = self.payload_left.min(bytes.len() as u64);
                self.payload_left -= step;
                bytes = &bytes[step as usize..];
                if self.payload_left > 0 {
                    return Ok(tally);
                }
                self.in_payload = false;
                self.have = 0;
                self.message(unit, &mut tally)?;
            }
            if !self.read_header(&mut bytes)? {
                return Ok(tally);
            }
        }
    }

    fn message(&self, unit: &mut u64, tally: &mut Tally) -> Result<(), Unexpected> {
        let length = self.payload_length;
        if *unit == ONE_EACH {
            tally.publications += 1;
            return Ok(());
        }
        if length == PING_BYTES {
            tally.pings += 1;
            return Ok(());
        }
        if *unit == 0 {
            *unit = length;
        }
        if !(length + 1).is_multiple_of(*unit + 1) {
            return Err(Unexpected::Length { length, unit: *unit });
        }
        tally.publications += (length + 1) / (*unit + 1);
        Ok(())
    }

    /// True when a whole header is in, false when the bytes ran out.
    fn read_header(&mut self, bytes: &mut &[u8]) -> Result<bool, Unexpected> {
        loop {
            let have = usize::from(self.have);
            let want = match (have, self.header[1]) {
                (0 | 1, _) => 2,
                (_, 126) => 4,
                (_, 127) => 10,
                _ => 2,
            };
            if have == want {
                break;
            }
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(false) };
            self.header[have] = byte;
            self.have += 1;
            *bytes = rest;
        }
        // Final frame, no reserved bits, text or binary: all that a push server needs.
        if !matches!(self.header[0], 0x81 | 0x82) {
            return Err(Unexpected::Opcode(self.header[0]));
        }
        self.payload_length = match self.header[1] {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => self.header[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            short => u64::from(short),
        };
        self.payload_left = self.payload_length;
        self.in_payload = true;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of `length` bytes as a server sends it.
    fn message(length: usize) -> Vec<u8> {
        let mut bytes = vec![0x81];
        match length {
            0..126 => bytes.push(length as u8),
            126..0x1_0000 => {
                bytes.push(126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(127);
                bytes.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        bytes.resize(bytes.len() + length, b'x');
        bytes
    }

    #[test]
    fn publications_are_counted_wherever_the_reads_cut_the_stream() {
        // One alone, a heartbeat, two in one message, five hundred in one, one alone.
        let stream = [message(178), message(2), message(357), message(500 * 179 - 1), message(178)].concat();
        for step in [1, 2, 3, 7, 178, 4096, stream.len()] {
            let (mut counter, mut unit) = (FrameCounter::default(), 0);
            let (mut publications, mut pings) = (0, 0);
            for part in stream.chunks(step) {
                let tally = counter.take(part, &mut unit).unwrap();
                publications += tally.publications;
                pings += tally.pings;
            }
            assert_eq!((publications, pings, unit), (504, 1, 178), "read by {step}");
        }
    }

    #[test]
    fn a_message_that_is_no_number_of_publications_is_an_error() {
        let mut counter = FrameCounter::default();
        let refused = counter.take(&message(200), &mut 178);
        assert_eq!(refused, Err(Unexpected::Length { length: 200, unit: 178 }));
    }

    #[test]
    fn a_close_frame_is_an_error() {
        let mut counter = FrameCounter::default();
        assert_eq!(counter.take(&[0x88, 0x02, 0x03, 0xE8], &mut 178), Err(Unexpected::Opcode(0x88)));
    }
}
