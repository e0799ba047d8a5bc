//! Recordings in WAV files.

use std::fs;
use std::path::Path;

use dendra::prelude::*;

/// A sound of one channel.
pub(crate) struct Sound {
    /// Samples from −1 to 1.
    pub(crate) samples: Vec<f32>,
    /// The number of samples in a second.
    pub(crate) rate: usize,
}

impl Sound {
    /// Reads a WAV file of whole numbers or floats; several channels become their
    /// mean.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| Error::io(path, error))?;
        Self::parse(&bytes).map_err(|message| Error::file(path, message))
    }

    pub(crate) fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
            return Err("expected a WAV file, which starts with RIFF".to_owned());
        }
        let (mut rest, mut format, mut data) = (&bytes[12..], None, None);
        while let Some((head, body)) = rest.split_at_checked(8) {
            let length = number(&head[4..]) as usize;
            // An incomplete recording declares more data than it has.
            let (body, after) = body.split_at(length.min(body.len()));
            match &head[..4] {
                b"fmt " => format = Some(body),
                b"data" => data = Some(body),
                _ => {}
            }
            // A chunk of odd length is followed by a byte of padding.
            rest = after.get(length % 2..).unwrap_or_default();
        }
        let format = format.filter(|format| format.len() >= 16).ok_or("the format is missing")?;
        let data = data.ok_or("the data are missing")?;
        let of_format = |from: usize, length: usize| number(&format[from..from + length]) as usize;
        let (channels, rate, bits) = (of_format(2, 2), of_format(4, 4), of_format(14, 2));
        // The kind of an extensible format is stored later.
        let kind = match of_format(0, 2) {
            0xFFFE if format.len() >= 26 => of_format(24, 2),
            kind => kind,
        };
        let sample: fn(&[u8]) -> f32 = match (kind, bits) {
            (1, 8) => |bytes| (f32::from(bytes[0]) - 128.0) / 128.0,
            // As the upper bytes of 32 bits, which keeps the sign.
            (1, 16 | 24 | 32) => {
                |bytes| ((number(bytes) << (32 - 8 * bytes.len())) as i32) as f32 / 2_147_483_648.0
            }
            (3, 32) => |bytes| f32::from_bits(number(bytes)),
            _ => return Err(format!("samples of kind {kind} with {bits} bits are not supported")),
        };
        if channels == 0 || rate == 0 {
            return Err(format!("expected channels and a rate, got {channels} and {rate}"));
        }
        let frames = data.chunks_exact(channels * bits / 8);
        let mean = |frame: &[u8]| frame.chunks(bits / 8).map(sample).sum::<f32>() / channels as f32;
        Ok(Self { samples: frames.map(mean).collect(), rate })
    }

    /// Resamples the sound to 8 or 16 kHz for the detector: from a multiple of
    /// 16 kHz, every n-th sample is taken.
    pub(crate) fn decimated(self) -> Result<Self> {
        match self.rate {
            8_000 => Ok(self),
            rate if rate % 16_000 == 0 => {
                let samples = self.samples.into_iter().step_by(rate / 16_000).collect();
                Ok(Self { samples, rate: 16_000 })
            }
            rate => {
                let message = format!("expected 8000, 16000 or a multiple of it, got {rate} Hz");
                Err(Error::argument("Sound::decimated", message))
            }
        }
    }
}

/// A little-endian number of up to four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte))
}
