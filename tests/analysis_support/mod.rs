//! What the analysis tests share: runs to be analysed, ways to store them, and the definitions once
//! more.
#![allow(dead_code)] // not every test file uses all of it

pub mod hand;
pub mod reference;
pub mod rows;
pub mod world;
