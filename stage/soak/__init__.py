"""One relay process lives through hundreds of calls and random faults; then its books and its memory are judged.

plan       the closed list of what may happen to a call, and which of it happens to which call
end        one end of a call on a raw socket: it counts every frame and knows the relay's own from the other end's
client     a client's life and the faults that are its own, and the process that keeps hundreds of clients
model      the model's side of a call and the faults that are its own, and its process
books      what relay, clients and model wrote down of each call, side by side
samples    memory, descriptors and tasks of the relay, every few seconds, and whether they grow
checks     what must be true of the books and of the samples
run        the run from start to verdict
report     the verdict for people, on stdout and as a page
"""
