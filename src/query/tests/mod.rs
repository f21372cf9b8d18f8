//! Queries against a naive reference, on made-up segments.

mod logs;
mod make;
mod order;
mod overlays;
mod reference;
mod rows;
mod speed;
mod trees;
