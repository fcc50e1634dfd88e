//! Compiles the protos with protox: no protoc is needed on the machine. Never writes outside of
//! cargo's own folder.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: &[&str] = &[
    "redrive/v1/common.proto",
    "redrive/v1/terms.proto",
    "redrive/v1/failure_context.proto",
    "redrive/v1/retry_policy.proto",
    "redrive/v1/retry_policy_service.proto",
    "redrive/v1/task.proto",
    "redrive/v1/task_service.proto",
    "redrive/v1/heartbeat.proto",
    "redrive/v1/kind_service.proto",
    "redrive/v1/worker_service.proto",
    "redrive/v1/queue_service.proto",
    "redrive/v1/dead_letter_service.proto",
    "redrive/v1/event_service.proto",
    "redrive/v1/server_service.proto",
];

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells where to write by the environment"
)]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    for file in FILES {
        // tonic-prost-build 0.14 prints no rerun lines of its own.
        println!("cargo:rerun-if-changed={file}");
    }

    let mut compiler = protox::Compiler::new(["."])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("redrive_descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    tonic_prost_build::configure()
        .bytes(".redrive.v1")
        // Maps in order: an encoding is the same whenever it is made.
        .btree_map(".redrive.v1")
        // Large and rare: a task without them should not carry their room around.
        .boxed(".redrive.v1.Terms.follow_ups")
        .boxed(".redrive.v1.Task.effective")
        .boxed(".redrive.v1.TaskSpec.terms")
        .boxed(".redrive.v1.TaskSpec.unique")
        .boxed(".redrive.v1.TaskSpec.retry.inline_retry_policy")
        .boxed(".redrive.v1.Delivery.previous_failure")
        .boxed(".redrive.v1.Delivery.cause")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
