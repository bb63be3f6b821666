//! Every limit of the protocol. Both sides check them before anything is allocated.

/// Bytes of one event's payload: 16 MiB.
pub const EVENT_BYTES: usize = 16 << 20;

/// Bytes of one batch, all columns together: 32 MiB.
pub const BATCH_BYTES: usize = 32 << 20;

/// Events of one batch; also outputs of one result.
pub const BATCH_EVENTS: usize = 65_536;

/// Bytes of one encoded gRPC message: 64 MiB.
pub const MESSAGE_BYTES: usize = 64 << 20;

/// Bytes of one attribute or extension value: 64 KiB.
pub const ATTRIBUTE_BYTES: usize = 64 << 10;

/// Bytes of one ordering key: 1 KiB.
pub const KEY_BYTES: usize = 1 << 10;

/// Extension columns of one batch.
pub const EXTENSIONS: usize = 64;

/// Characters of an extension's name, each of [a-z0-9].
pub const EXTENSION_NAME_CHARS: usize = 64;

/// Bytes of a source's checkpoint: 64 KiB.
pub const CHECKPOINT_BYTES: usize = 64 << 10;

/// Characters of a failure's reason, each of [A-Z0-9_].
pub const REASON_CHARS: usize = 64;

/// Bytes of a failure's message: 4 KiB.
pub const FAILURE_MESSAGE_BYTES: usize = 4 << 10;

/// Bytes of a W3C `tracestate`.
pub const TRACE_STATE_BYTES: usize = 512;

/// Running handler calls that one progress report names.
pub const PROGRESS_CALLS: usize = 256;

/// Whether a text is a legal reason: 1 to [`REASON_CHARS`] characters of [A-Z0-9_].
#[must_use]
pub fn is_reason(text: &str) -> bool {
    (1..=REASON_CHARS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// Whether a text is a legal extension name: 1 to [`EXTENSION_NAME_CHARS`] characters of [a-z0-9].
#[must_use]
pub fn is_extension_name(text: &str) -> bool {
    (1..=EXTENSION_NAME_CHARS).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// Cuts a text to at most `bytes` bytes without splitting a character.
#[must_use]
pub fn truncate(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_upper_snake_within_64_characters() {
        assert!(is_reason("NO_RESULT_2"));
        assert!(is_reason(&"A".repeat(64)));
        assert!(!is_reason(&"A".repeat(65)));
        assert!(!is_reason(""));
        assert!(!is_reason("no_result"));
        assert!(!is_reason("NO RESULT"));
        assert!(!is_reason("NÖ"));
    }

    #[test]
    fn extension_names_are_lower_case_letters_and_digits() {
        assert!(is_extension_name("traceparent"));
        assert!(is_extension_name("a1"));
        assert!(!is_extension_name("A1"));
        assert!(!is_extension_name("a_b"));
        assert!(!is_extension_name(""));
        assert!(!is_extension_name(&"a".repeat(65)));
    }

    #[test]
    fn truncation_keeps_characters_whole() {
        assert_eq!(truncate("aé", 2), "a");
        assert_eq!(truncate("aé", 3), "aé");
        assert_eq!(truncate("aé", 9), "aé");
    }
}
