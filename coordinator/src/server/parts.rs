//! Lists in parts.
//!
//! Owns nothing but the cut.

/// The items in parts of at most so many, in their order; one empty part where there are none.
pub(super) fn parts_of<T>(items: Vec<T>, most: usize) -> Vec<Vec<T>> {
    if items.len() <= most {
        return vec![items];
    }
    let mut parts = Vec::with_capacity(items.len().div_ceil(most));
    let mut items = items.into_iter();
    loop {
        let part: Vec<T> = items.by_ref().take(most).collect();
        if part.is_empty() {
            return parts;
        }
        parts.push(part);
    }
}

#[cfg(test)]
mod tests {
    use super::parts_of;

    #[test]
    fn parts_keep_the_order_and_have_their_size() {
        assert_eq!(parts_of(vec![1, 2, 3], 3), [vec![1, 2, 3]]);
        assert_eq!(
            parts_of(vec![1, 2, 3, 4, 5], 2),
            [vec![1, 2], vec![3, 4], vec![5]]
        );
        assert_eq!(parts_of(vec![1, 2, 3, 4], 2), [vec![1, 2], vec![3, 4]]);
    }
}
