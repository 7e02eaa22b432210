//! Values that nearly all tokens have in common, kept once.

use std::sync::{Arc, OnceLock};

use base::ids::Scopes;

/// So many different ones are shared; tokens with others keep their own. An organization's apps ask for few sets of scopes.
const MOST: usize = 16;

/// The first values that came, of which equal ones are clones. Reading takes no lock.
#[derive(Default)]
pub(super) struct Known<T>([OnceLock<T>; MOST]);

impl<T: Clone + PartialEq> Known<T> {
    /// The one that equals `value`, which is `value` itself if it is a new one.
    pub(super) fn shared(&self, value: &T) -> T {
        let known = self.0.iter().map(|place| place.get_or_init(|| value.clone()));
        known.into_iter().find(|known| *known == value).unwrap_or(value).clone()
    }
}

/// What callers' tokens have in common.
#[derive(Default)]
pub(super) struct InCommon {
    /// `scp`
    pub(super) scopes: Known<Scopes>,
    /// `aud`
    pub(super) audiences: Known<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_up_to_a_bound() {
        let known = Known::default();
        let text = |number: usize| Arc::<str>::from(number.to_string());
        let first: Vec<_> = (0..=MOST).map(|number| known.shared(&text(number))).collect();
        for (number, first) in first.iter().enumerate() {
            let again = known.shared(&text(number));
            assert_eq!(&again, first);
            assert_eq!(Arc::ptr_eq(&again, first), number < MOST, "{number}");
        }
    }
}
