//! What a program printed, fit to be shown beside others.

/// Longest escape sequence that is looked at.
const LONGEST: usize = 32;

/// `text` without control characters and escape sequences, but for colours if `colour`; these end with the text.
pub(super) fn tame(text: &str, colour: bool) -> String {
    // Most lines hold nothing of the kind.
    if !text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) && !text.contains(|character: char| character.is_control())
    {
        return text.to_owned();
    }
    let mut tamed = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let length = match character {
            '\x1b' => {
                let (sequence, is_colour) = escape(rest);
                if is_colour && colour {
                    tamed.push_str(sequence);
                    coloured = true;
                }
                sequence.len()
            }
            '\t' => {
                tamed.push('\t');
                1
            }
            other => {
                if !other.is_control() {
                    tamed.push(other);
                }
                other.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    if coloured {
        tamed.push_str("\x1b[0m");
    }
    tamed
}

/// The sequence at the start of `text`, and whether it only sets colours.
fn escape(text: &str) -> (&str, bool) {
    let bytes = text.as_bytes();
    let end = match bytes.get(1) {
        Some(b'[') => bytes.iter().take(LONGEST).skip(2).position(|byte| (0x40..=0x7e).contains(byte)).map(|at| at + 3),
        // Titles and links end with BEL or ESC \.
        Some(b']') => bytes
            .iter()
            .position(|byte| *byte == 0x07)
            .map(|at| at + 1)
            .or_else(|| text[1..].find("\x1b\\").map(|at| at + 3)),
        _ => None,
    };
    let sequence = end.and_then(|end| text.get(..end)).unwrap_or(&text[..1]);
    (sequence, sequence.starts_with("\x1b[") && sequence.ends_with('m'))
}

#[test]
fn colours_stay_and_the_rest_goes() {
    assert_eq!(tame("plain\ttext ä", true), "plain\ttext ä");
    assert_eq!(tame("\x1b[31mred\x1b[2J\x1b[H", true), "\x1b[31mred\x1b[0m");
    assert_eq!(tame("\x1b[1;31mred\x1b[0m \x1b]0;title\x07x", false), "red x");
    assert_eq!(tame("50 %\r100 %\x07", true), "50 %100 %");
    assert_eq!(tame("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", true), "link");
    assert_eq!(tame("\x1b", true), "");
    assert_eq!(tame("\x1bä\u{9b}31m", true), "ä31m");
}
