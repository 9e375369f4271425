# A convenience: every recipe is a script that runs without just.

# What is there?
default:
    @just --list

# Every test; arguments go to `cargo test`
test *arguments:
    scripts/test {{arguments}}

# Everything that can be checked; reads only
verify:
    scripts/verify

# Everything that writes: generated code, clippy's suggestions, format
fix:
    scripts/fix
