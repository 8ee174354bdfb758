//! Malformed input of every kind that a person or a script can hand to the program: it is refused with a located sentence and
//! exit code 2, or taken; it never panics, hangs or leaves half of something behind.

mod api;
mod change_file;
mod command_line;
mod uploads;
mod writes;
