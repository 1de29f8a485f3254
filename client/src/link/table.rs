//! The correlation table: which request waits for which reply.
//!
//! A slab: a correlation id is a slot's index plus one (0 is "no request" on the wire), so inserting and taking
//! are an index and a free list, with no hashing and, once warm, no allocation. An id is reused only after its
//! reply arrived or its connection ended, even when the caller stopped waiting; a reply therefore never meets
//! the wrong request. Each slot remembers what it holds of the link's room. Size is bounded by that room, not here.

/// What waits for replies, by correlation id.
#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Option<u32>,
}

#[derive(Debug)]
enum Slot<T> {
    Occupied { value: T, cost: u32 },
    Free { next: Option<u32> },
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: None,
        }
    }
}

impl<T> Table<T> {
    /// Stores `value`, which holds `cost` of the link's room, and returns its correlation id.
    pub(crate) fn insert(&mut self, value: T, cost: u32) -> u32 {
        let slot = Slot::Occupied { value, cost };
        if let Some(index) = self.free {
            let place = self
                .slots
                .get_mut(index as usize)
                .expect("the free list names slots");
            if let Slot::Free { next } = place {
                self.free = *next;
            }
            *place = slot;
            return index + 1;
        }
        self.slots.push(slot);
        u32::try_from(self.slots.len())
            .expect("the link's room allows far fewer than 2^32 requests")
    }

    /// Removes what waits under `correlation`, with its cost; `None` if nothing does.
    pub(crate) fn take(&mut self, correlation: u32) -> Option<(T, u32)> {
        let index = correlation.checked_sub(1)?;
        let place = self.slots.get_mut(index as usize)?;
        if matches!(place, Slot::Free { .. }) {
            return None;
        }
        match std::mem::replace(place, Slot::Free { next: self.free }) {
            Slot::Occupied { value, cost } => {
                self.free = Some(index);
                Some((value, cost))
            }
            Slot::Free { .. } => None,
        }
    }

    /// Empties the table, as when a connection ended, and returns what waited.
    pub(crate) fn drain(&mut self) -> Vec<(T, u32)> {
        self.free = None;
        self.slots
            .drain(..)
            .filter_map(|slot| match slot {
                Slot::Occupied { value, cost } => Some((value, cost)),
                Slot::Free { .. } => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_in_any_order_find_their_requests() {
        let mut table = Table::default();
        let ids: Vec<u32> = (0..100).map(|n| table.insert(n, n)).collect();
        assert!(ids.iter().all(|id| *id != 0));
        for n in (0..100).rev() {
            assert_eq!(table.take(ids[n as usize]), Some((n, n)));
        }
        assert!(table.drain().is_empty());
    }

    #[test]
    fn an_id_is_reused_only_after_its_reply() {
        let mut table = Table::default();
        let first = table.insert("first", 1);
        let second = table.insert("second", 1);
        assert_ne!(first, second);
        table.take(first);
        assert_eq!(table.take(first), None);
        assert_eq!(table.insert("third", 1), first);
        assert_eq!(table.take(second), Some(("second", 1)));
    }

    #[test]
    fn ids_nobody_gave_out_are_unknown() {
        let mut table = Table::<()>::default();
        assert_eq!(table.take(0), None);
        assert_eq!(table.take(1), None);
        assert_eq!(table.take(u32::MAX), None);
    }

    #[test]
    fn draining_returns_what_waited_and_starts_afresh() {
        let mut table = Table::default();
        let first = table.insert('a', 1);
        table.insert('b', 2);
        table.take(first);
        assert_eq!(table.drain(), [('b', 2)]);
        assert_eq!(table.insert('c', 3), 1);
    }
}
