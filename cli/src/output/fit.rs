//! How the columns of a table share the width of a terminal.
//!
//! Pure numbers: widths in, widths out.

/// A text column narrower than this says nothing, unless all that it says is shorter.
const TEXT_WIDTH_MIN: u16 = 6;

/// The widths of text columns of these natural widths, where `room` is left for them and each also
/// needs `gap`. Those that are short keep their width, the others share what is left evenly. Where
/// that would leave too little to read, the last columns are left out: `None`.
pub(crate) fn text_widths(natural: &[u16], room: u16, gap: u16) -> Vec<Option<u16>> {
    let mut shown = natural.len();
    loop {
        let gaps = gap.saturating_mul(u16::try_from(shown).unwrap_or(u16::MAX));
        let most = fair_share(&natural[..shown], room.saturating_sub(gaps));
        if most >= TEXT_WIDTH_MIN || shown <= 1 {
            let widths = natural.iter().enumerate();
            return widths
                .map(|(index, &width)| (index < shown).then(|| width.min(most.max(1))))
                .collect();
        }
        shown -= 1;
    }
}

/// The most that one column may have so that all of them fit into `room`.
fn fair_share(natural: &[u16], room: u16) -> u16 {
    let mut sorted = natural.to_vec();
    sorted.sort_unstable();
    let mut room = room;
    let mut left = u16::try_from(sorted.len()).unwrap_or(u16::MAX);
    for width in sorted {
        let share = room / left.max(1);
        if width > share {
            return share;
        }
        room -= width;
        left -= 1;
    }
    u16::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_keeps_its_width() {
        assert_eq!(text_widths(&[4, 10], 18, 2), [Some(4), Some(10)]);
        assert_eq!(text_widths(&[3, 2], 9, 2), [Some(3), Some(2)]);
        assert_eq!(text_widths(&[], 0, 2), []);
    }

    #[test]
    fn short_columns_keep_their_width_and_long_ones_share_the_rest() {
        assert_eq!(
            text_widths(&[4, 100, 50], 40, 2),
            [Some(4), Some(15), Some(15)]
        );
    }

    #[test]
    fn columns_that_could_say_nothing_are_left_out_from_the_end() {
        assert_eq!(text_widths(&[10, 10, 40], 20, 2), [Some(8), Some(8), None]);
        assert_eq!(text_widths(&[30, 30], 3, 2), [Some(1), None]);
    }

    #[test]
    fn columns_and_their_gaps_never_take_more_than_there_is() {
        for room in 10..120 {
            let widths = text_widths(&[12, 7, 33, 90], room, 2);
            let taken: u16 = widths.into_iter().flatten().map(|width| width + 2).sum();
            assert!(taken <= room, "{taken} of {room}");
        }
    }
}
