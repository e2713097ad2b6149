// The probe of the Rust guests: the verbs that every language's probe has.
use std::io::{self, Write};
use std::{env, fs, process, thread, time};

fn main() {
    let args: Vec<String> = env::args().collect();
    let verb = args.get(1).map(String::as_str).unwrap_or("hello");
    let arg = args.get(2).map(String::as_str).unwrap_or("");
    if let Err(err) = run(verb, arg) {
        println!("{}", err);
        process::exit(1);
    }
}

fn run(verb: &str, arg: &str) -> io::Result<()> {
    match verb {
        "hello" => println!("hello from Rust"),
        "exit" => process::exit(arg.parse().unwrap()),
        "trap" => panic!("trapped"),
        "sleep" => {
            println!("asleep");
            io::stdout().flush()?;
            thread::sleep(time::Duration::from_secs(arg.parse().unwrap()));
        }
        "cat" => {
            io::copy(&mut io::stdin(), &mut io::stdout())?;
        }
        "env" => {
            for (key, value) in env::vars() {
                println!("{}={}", key, value);
            }
        }
        "read" => io::stdout().write_all(&fs::read(arg)?)?,
        _ => {
            eprintln!("no verb {}", verb);
            process::exit(64);
        }
    }
    Ok(())
}
