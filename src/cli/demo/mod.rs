//! wip
pub async fn run(
    _out: crate::output::Out,
    _args: crate::args::DemoArgs,
) -> Result<(), crate::failure::Failure> {
    Ok(())
}
