//! What a handle refers to, or nothing; always nothing where recording is compiled out.
//!
//! There [`Held`] has no content, so every handle is an empty value and what a recording call would
//! do is dead code, which the optimiser removes.

/// Whether this build can record at all: feature `record`, on a platform with threads and files.
pub(crate) const RECORDS: bool = cfg!(all(feature = "record", not(target_family = "wasm")));

#[cfg(all(feature = "record", not(target_family = "wasm")))]
type Content<T> = Option<T>;
#[cfg(not(all(feature = "record", not(target_family = "wasm"))))]
type Content<T> = std::marker::PhantomData<T>;

/// A `T` or nothing, as in `Option`; without recording always nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held<T>(Content<T>);

#[cfg(all(feature = "record", not(target_family = "wasm")))]
impl<T> Held<T> {
    pub(crate) const NOTHING: Self = Self(None);

    #[inline(always)]
    pub(crate) fn new(value: Option<T>) -> Self {
        Self(value)
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut()
    }

    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }
}

#[cfg(not(all(feature = "record", not(target_family = "wasm"))))]
impl<T> Held<T> {
    pub(crate) const NOTHING: Self = Self(std::marker::PhantomData);

    #[inline(always)]
    pub(crate) fn new(_: Option<T>) -> Self {
        Self::NOTHING
    }

    #[inline(always)]
    pub(crate) fn get(&self) -> Option<&T> {
        None
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        None
    }

    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<T> {
        None
    }
}
