//! Identities of traces and spans.

use std::{cell::RefCell, fmt, str::FromStr};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use thiserror::Error;

thread_local! {
    // Seeded by the system once per thread; after that an id costs a few nanoseconds and no system call.
    static RANDOM: RefCell<SmallRng> = RefCell::new(SmallRng::from_os_rng());
}

pub(crate) fn random<T>(make: impl FnOnce(&mut SmallRng) -> T) -> T {
    RANDOM.with_borrow_mut(make)
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// A new one, unlike any other.
            pub fn random() -> Self {
                random(|random| {
                    loop {
                        let bytes: [u8; $bytes] = random.random();
                        if let Some(id) = Self::from_bytes(bytes) {
                            return id;
                        }
                    }
                })
            }

            /// `None` if all bytes are zero, which stands for "no id".
            pub fn from_bytes(bytes: [u8; $bytes]) -> Option<Self> {
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            /// From the bytes of a message.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Self::from_bytes(bytes.try_into().ok()?)
            }

            /// Its bytes, never all zero.
            pub fn to_bytes(self) -> [u8; $bytes] {
                self.0
            }
        }

        /// From the parts of a context that was checked before: not all zero.
        impl From<[u8; $bytes]> for $name {
            fn from(bytes: [u8; $bytes]) -> Self {
                debug_assert_ne!(bytes, [0; $bytes], "all zero stands for no id");
                Self(bytes)
            }
        }

        impl From<$name> for [u8; $bytes] {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                hex(text).and_then(Self::from_bytes).ok_or(ParseIdError { digits: $digits })
            }
        }
    };
}

id! {
    /// Identity of a trace.
    TraceId, 16, 32
}
id! {
    /// Identity of a span.
    SpanId, 8, 16
}

/// A text that is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected {digits} hexadecimal digits, not all zero")]
pub struct ParseIdError {
    digits: usize,
}

/// Exactly N bytes from hexadecimal digits.
pub(crate) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_differ_within_and_across_threads() {
        let make = || (0..1000).map(|_| TraceId::random()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(make)).collect();
        let all: HashSet<TraceId> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.len(), 4000);
    }

    #[test]
    fn text_and_back() {
        let id: TraceId = "0af7651916cd43dd8448eb211c80319c".parse().unwrap();
        assert_eq!(id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        for refused in ["", "0", "00000000000000000000000000000000", "gaf7651916cd43dd8448eb211c80319c"] {
            assert_eq!(refused.parse::<TraceId>(), Err(ParseIdError { digits: 32 }), "{refused}");
        }
        assert!("+af76519 16cd43d".parse::<SpanId>().is_err());
    }
}
