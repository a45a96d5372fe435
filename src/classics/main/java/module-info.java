/** The systems that attention came from, under their own names, built on attention4j. */
module io.github.attention4j.classics {
  requires transitive io.github.attention4j;

  exports io.github.attention4j.classics.d2l;
  exports io.github.attention4j.classics.paper;
  exports io.github.attention4j.classics.t2t;
  exports io.github.attention4j.classics.torch;
}
