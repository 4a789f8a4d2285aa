//! Which slot a key is in, and which server has a slot. Connects to nothing.

use redis::Value;

/// Slots of a Cluster.
const SLOTS: u16 = 16384;

/// Where a server is, as its Cluster tells it.
pub(super) type Address = (String, u16);

/// The slot of a key: of what stands between its first pair of braces, or of the whole key.
pub(super) fn of_key(key: &[u8]) -> u16 {
    crc16(hash_tag(key).unwrap_or(key)) % SLOTS
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let behind = &key[key.iter().position(|byte| *byte == b'{')? + 1..];
    let tag = &behind[..behind.iter().position(|byte| *byte == b'}')?];
    (!tag.is_empty()).then_some(tag)
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| crc << 8 ^ TABLE[usize::from((crc >> 8) as u8 ^ byte)])
}

static TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// A range of slots, and the master that has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub first: u16,
    pub last: u16,
    pub master: Address,
    pub replicas: Vec<Address>,
}

/// Reads an answer to `CLUSTER SLOTS`. A node that leaves a host out means the one by which it was asked.
pub(super) fn parse(answer: &Value, asked: &str) -> Vec<Range> {
    let Value::Array(ranges) = answer else { return Vec::new() };
    let range = |range: &Value| {
        let Value::Array(parts) = range else { return None };
        let [Value::Int(first), Value::Int(last), nodes @ ..] = &parts[..] else { return None };
        let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
        let mut nodes = nodes.iter().map(|node| address(node, asked));
        let master = nodes.next()??;
        (last < SLOTS).then(|| Range { first, last, master, replicas: nodes.flatten().collect() })
    };
    ranges.iter().filter_map(range).collect()
}

fn address(node: &Value, asked: &str) -> Option<Address> {
    let Value::Array(parts) = node else { return None };
    let (host, Value::Int(port)) = (parts.first()?, parts.get(1)?) else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        _ => "",
    };
    let host = match host {
        "" => asked,
        // Nobody knows.
        "?" => return None,
        host => host,
    };
    Some((host.to_owned(), u16::try_from(*port).ok()?))
}

/// Reads `host:port`, where the host may be left out.
pub(super) fn parse_address(text: &str, asked: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = if host.is_empty() { asked } else { host.trim_matches(['[', ']']) };
    Some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        for (key, slot) in [("foo", 12182), ("somekey", 11058), ("{user1000}.following", 3443)] {
            assert_eq!(of_key(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(of_key(b"{user1000}.followers"), of_key(b"user1000"));
        assert_eq!(of_key(b"foo{{bar}}zap"), of_key(b"{bar"));
        for whole in ["foo{}{bar}", "foo{bar", "foo}{"] {
            assert_eq!(of_key(whole.as_bytes()), crc16(whole.as_bytes()) % SLOTS, "{whole}");
        }
    }

    #[test]
    fn an_answer_is_read_with_the_hosts_it_leaves_out() {
        let node = |host: Value, port| Value::Array(vec![host, Value::Int(port)]);
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let range = |first, last, nodes: Vec<Value>| {
            Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat())
        };
        let answer = Value::Array(vec![
            range(0, 99, vec![node(text("a"), 1), node(text(""), 2), node(text("?"), 3)]),
            range(100, 16383, vec![node(Value::Nil, 4)]),
            range(5, 6, vec![node(text("?"), 5)]),
            range(5, 70_000, vec![node(text("a"), 5)]),
        ]);
        let found = parse(&answer, "me");
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].master, ("a".into(), 1));
        assert_eq!(found[0].replicas, [("me".into(), 2)]);
        assert_eq!((found[1].first, found[1].last, &found[1].master), (100, 16383, &("me".into(), 4)));
    }

    #[test]
    fn a_redirection_names_its_server() {
        assert_eq!(parse_address("10.0.0.1:6381", "me"), Some(("10.0.0.1".into(), 6381)));
        assert_eq!(parse_address(":6381", "me"), Some(("me".into(), 6381)));
        assert_eq!(parse_address("::1:6381", "me"), Some(("::1".into(), 6381)));
        assert_eq!(parse_address("nowhere", "me"), None);
    }
}
