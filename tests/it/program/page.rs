//! Pages of `report`, as tests read them.

/// Names and contents of the files that a page offers for download.
pub(crate) fn downloads(html: &str) -> Vec<(String, String)> {
    let links = html.split("<a download=\"").skip(1);
    links
        .map(|link| {
            let (name, rest) = link.split_once('"').unwrap();
            let (_, rest) = rest.split_once(";base64,").unwrap();
            let (data, _) = rest.split_once('"').unwrap();
            (name.to_owned(), String::from_utf8(base64(data)).unwrap())
        })
        .collect()
}

/// Decodes standard Base64 (RFC 4648).
fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |c: &u8| LETTERS.iter().position(|l| l == c).unwrap_or_else(|| panic!("{c} in Base64")) as u32;
    let plain = text.trim_end_matches('=').as_bytes();
    let bytes = |four: &[u8]| {
        let bits = four.iter().fold(0, |bits, c| bits << 6 | value(c)) << (6 * (4 - four.len()));
        bits.to_be_bytes()[1..four.len()].to_vec()
    };
    plain.chunks(4).flat_map(bytes).collect()
}
