//! Properties of messages about clients with hostile texts.

use proptest::prelude::*;

use super::*;

/// A hostile text: quotes, controls, invalid UTF-8, or letters of several bytes, repeated up to a length.
fn hostile() -> impl Strategy<Value = (&'static [u8], usize)> {
    let texts: [&[u8]; 8] =
        [b"\"", b"\\", b"\x01", b"\x7f", b"\xff\xfe", "\u{fc}\u{20ac}\u{1f600}\u{2028}".as_bytes(), b"name=x", b"a"];
    (proptest::sample::select(texts.to_vec()), 0_usize..1500)
}

/// A row without its id: name, user, library and command, the idle time, and the flags.
type HostileRow = ([(&'static [u8], usize); 4], u32, &'static str);

fn hostile_row() -> impl Strategy<Value = HostileRow> {
    let flags = proptest::sample::select(vec!["N", "b", "S", "P"]);
    (prop::array::uniform4(hostile()), any::<u32>(), flags)
}

fn written(id: usize, (texts, idle, flags): &HostileRow) -> Vec<u8> {
    let mut row = format!("id={id} age={idle} idle={idle} flags={flags} addr=10.0.0.1:1").into_bytes();
    for (key, (text, length)) in [" name=", " user=", " lib-name=", " cmd="].into_iter().zip(texts) {
        row.extend([key.as_bytes(), &text.repeat(length / text.len())].concat());
    }
    row.push(b'\n');
    row
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever clients call themselves, and whatever fits.
    #[test]
    fn a_status_is_within_its_bounds_and_received_as_it_was_made(
        rows in proptest::collection::vec(hostile_row(), 0..120),
        copies in 1_usize..12,
        max_bytes in 0_usize..600_000,
        is_signed in any::<bool>(),
    ) {
        let all = rows.len() * copies;
        let numbered = (1..).zip(rows.iter().cycle()).take(all);
        let snapshot = snapshot(numbered.flat_map(|(id, row)| written(id, row)).collect::<Vec<u8>>());
        let counted = snapshot.client_counts.as_ref().expect("counts").connections();
        prop_assert_eq!(counted, all as u64);
        let reserve = if is_signed { SIGNATURE_OVERHEAD } else { 0 };
        let parts = status(&Announcement { max_bytes, reserve, ..ANNOUNCEMENT }, &snapshot);
        prop_assert!(!parts.is_empty());
        for part in &parts {
            prop_assert!(part.len() + reserve <= MAX_MESSAGE, "{}", part.len());
            prop_assert!(serde_json::from_str::<Value>(part).is_ok(), "{part}");
        }
        let total: usize = parts.iter().map(String::len).sum();
        let (ids, truncated) = received(&parts);
        prop_assert!(total <= max_bytes || ids.is_empty() && parts.len() == 1, "{total} of {max_bytes}");
        prop_assert_eq!(ids.len() + truncated as usize, all);
        let in_parts: usize = parts.iter().map(|part| parsed(part)["clients"].as_array().map_or(0, Vec::len)).sum();
        prop_assert_eq!(in_parts, ids.len());
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Each client that stays is in some status, as others come and close, whatever fits.
    #[test]
    fn no_client_is_left_out_forever(
        stays in 1_u64..30,
        opened in 0_u64..20,
        max_bytes in 1_500_usize..5_000,
        is_signed in any::<bool>(),
    ) {
        let reserve = if is_signed { SIGNATURE_OVERHEAD } else { 0 };
        let announcement = Announcement { max_bytes, reserve, ..ANNOUNCEMENT };
        let (mut rotation, mut seen) = (Rotation::default(), BTreeSet::new());
        let mut least = u64::MAX;
        let rounds = 2 * (stays + opened) + 2;
        for round in 0..rounds {
            // The clients that stay are the busiest ones.
            let other = 1000 + round * opened;
            let reply = clients(other..other + opened).replace("idle=3", "idle=500") + &clients(1..1 + stays);
            let snapshot = snapshot(reply);
            let part = announcement.status(&snapshot, &mut rotation).remove(0);
            let listed = ids(&part, "clients");
            least = least.min(listed.len() as u64);
            seen.extend(listed);
        }
        prop_assert!(least < 2 || (1..=stays).all(|id| seen.contains(&id)), "{seen:?}");
    }
}
