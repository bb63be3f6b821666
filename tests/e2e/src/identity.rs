//! The identity rules of the protocol, written down a second time: what uids the coordinator must give.

use uuid::Uuid;

/// Meshloom's namespace.
const NAMESPACE: Uuid = Uuid::from_u128(0x6e1f_0b5c_94a7_4d3b_8e52_c07d_a91f_36e8);

fn hash(parts: &[&[u8]]) -> Uuid {
    let mut text = Vec::new();
    for part in parts {
        text.extend((part.len() as u32).to_le_bytes());
        text.extend(*part);
    }
    Uuid::new_v5(&NAMESPACE, &text)
}

/// Of a source's event: H(source, id), as 32 hexadecimal digits.
pub fn of_source(source: &str, id: &str) -> String {
    hash(&[source.as_bytes(), id.as_bytes()]).simple().to_string()
}

/// Of output n > 0 of a parent: H(PIPELINE/NODE, parent uid, n).
pub fn of_output(node: &str, parent: &str, n: u32) -> String {
    let parent = Uuid::parse_str(parent).expect("a uid");
    hash(&[node.as_bytes(), parent.as_bytes(), &n.to_le_bytes()]).simple().to_string()
}
