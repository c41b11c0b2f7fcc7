//! Loom's atomics, made to be looked at in every order.
//!
//! Loom remembers one last access of an atomic: a load hides an earlier load by another thread from the
//! store that comes next, and what would have happened had that store come first is never tried. So each
//! access is announced by a store to a companion that nobody reads: announcements are never left out, and
//! synchronise nothing.

use loom::sync::atomic::Ordering;

macro_rules! atomic {
    ($name:ident, $int:ty) => {
        #[derive(Debug, Default)]
        pub struct $name {
            value: loom::sync::atomic::$name,
            companion: loom::sync::atomic::AtomicBool,
        }

        impl $name {
            pub fn new(value: $int) -> Self {
                $name { value: loom::sync::atomic::$name::new(value), companion: Default::default() }
            }

            fn announced(&self) -> &loom::sync::atomic::$name {
                self.companion.store(true, Ordering::Relaxed);
                &self.value
            }

            pub fn load(&self, order: Ordering) -> $int {
                self.announced().load(order)
            }

            pub fn store(&self, value: $int, order: Ordering) {
                self.announced().store(value, order);
            }

            pub fn swap(&self, value: $int, order: Ordering) -> $int {
                self.announced().swap(value, order)
            }

            pub fn compare_exchange(&self, from: $int, to: $int, done: Ordering, not: Ordering) -> Result<$int, $int> {
                self.announced().compare_exchange(from, to, done, not)
            }

            pub fn fetch_or(&self, bits: $int, order: Ordering) -> $int {
                self.announced().fetch_or(bits, order)
            }

            pub fn fetch_and(&self, bits: $int, order: Ordering) -> $int {
                self.announced().fetch_and(bits, order)
            }

            pub fn fetch_add(&self, n: $int, order: Ordering) -> $int {
                self.announced().fetch_add(n, order)
            }

            pub fn fetch_sub(&self, n: $int, order: Ordering) -> $int {
                self.announced().fetch_sub(n, order)
            }
        }
    };
}

atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
