// chat: a conversation with a preloaded model by the crate wasmedge-wasi-nn, the way
// LlamaEdge's programs are made.
//
//   chat NAME CONFIG TEXT...
//
// Each TEXT is a turn: it follows all that was said before, and the answer, streamed with
// a '|' behind each token, follows it.
use std::io::Write;
use wasmedge_wasi_nn::{
    BackendError, Error, ExecutionTarget, GraphBuilder, GraphEncoding, GraphExecutionContext, TensorType,
};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.len() < 3 {
        eprintln!("usage: chat NAME CONFIG TEXT...");
        std::process::exit(2);
    }
    if let Err(err) = chat(&args[0], &args[1], &args[2..]) {
        eprintln!("chat: {}", err);
        std::process::exit(1);
    }
}

fn chat(name: &str, config: &str, turns: &[String]) -> Result<(), Error> {
    let graph = GraphBuilder::new(GraphEncoding::Ggml, ExecutionTarget::AUTO)
        .config(config.to_string())
        .build_from_cache(name)?;
    let mut context = graph.init_execution_context()?;
    let mut said = String::new();
    for turn in turns {
        said.push_str(turn);
        context.set_input(0, TensorType::U8, &[1], said.as_bytes())?;
        said.push_str(&answer(&mut context)?);
        println!();
    }
    println!("{}", text(|out| context.get_output(1, out))?);
    Ok(())
}

// answer streams the model's tokens until it has said all.
fn answer(context: &mut GraphExecutionContext) -> Result<String, Error> {
    let mut whole = String::new();
    loop {
        match context.compute_single() {
            Ok(()) => {}
            Err(Error::BackendError(BackendError::EndOfSequence)) => break,
            Err(err) => return Err(err),
        }
        let token = text(|out| context.get_output_single(0, out))?;
        print!("{}|", token);
        std::io::stdout().flush().expect("stdout");
        whole.push_str(&token);
    }
    context.fini_single()?;
    Ok(whole)
}

fn text(get: impl Fn(&mut [u8]) -> Result<usize, Error>) -> Result<String, Error> {
    let mut buffer = vec![0; 4096];
    let size = get(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..size]).into_owned())
}
