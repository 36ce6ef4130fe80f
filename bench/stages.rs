use redis_client_exporter::client_list::*;
fn main() {
    let mut s = String::new();
    let n: usize = std::env::args().nth(1).map(|x| x.parse().unwrap()).unwrap_or(10000);
    for i in 0..n {
        s.push_str(&format!("id={} addr=10.0.{}.{}:{} laddr=127.0.0.1:6379 fd={} name=worker-{} age={} idle={} flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=20474 argv-mem=0 multi-mem=0 rbs=1024 rbp=0 obl=0 oll=0 omem=0 tot-mem=22426 events=r cmd=get user=default redir=-1 resp=2 lib-name=redis-py lib-ver=5.0.1 io-thread=0 tot-net-in=14{} tot-net-out=265{} tot-cmds={}\n", i+1000, i/250%250,i%250, 30000+i%30000, i+8, i%100, i*3, i%4000, i,i,i%90));
    }
    let b = s.into_bytes();
    for _ in 0..10 {
        let t = std::time::Instant::now();
        let mut c = 0;
        for _ in 0..20 {
            c += parse(&b).clients.len();
        }
        let e = t.elapsed().as_secs_f64() / 20.0;
        println!(
            "{} {:.3} ms {:.2} GB/s row {} B {:.0} ns",
            c,
            e * 1e3,
            b.len() as f64 / e / 1e9,
            b.len() / n,
            e * 1e9 / n as f64
        );
    }
}
