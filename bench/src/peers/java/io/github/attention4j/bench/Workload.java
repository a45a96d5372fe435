package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;

/** One problem that all contenders solve, by the name that the tables use. */
sealed interface Workload {
  /** Mostly what a call costs. */
  Shape SMALLEST =
      new Shape("C1", 1, 1, 1, 1, 1, 1, 8, 8, false, "the smallest call: 1 head, 1 query, 1 key");

  /** What the tables call it. */
  String name();

  /** Where such a call comes from. */
  String source();

  /** Multiplications and additions of all matrix products; half of the scores' when causal. */
  double flops();

  /** What a step must read once, keys and values and weights; 0 where arithmetic decides. */
  double bytes();

  /** How its numbers are stored. */
  default Storage storage() {
    return Storage.F32;
  }

  /** Only attention, many queries. */
  record Prefill(Shape shape, Storage storage) implements Workload {
    @Override
    public String name() {
      return shape.name() + storage.suffix();
    }

    @Override
    public String source() {
      return shape.source();
    }

    @Override
    public double flops() {
      return shape.flops();
    }

    @Override
    public double bytes() {
      return 0;
    }
  }

  /** Only attention, one query for each sequence. */
  record Step(Shape shape, Storage storage) implements Workload {
    @Override
    public String name() {
      return shape.name() + storage.suffix();
    }

    @Override
    public String source() {
      return shape.source();
    }

    @Override
    public double flops() {
      return shape.flops();
    }

    @Override
    public double bytes() {
      return storage.cacheBytes(shape);
    }
  }

  /** Differential attention; the shape counts pairs. */
  record Pairs(Shape shape, Storage storage) implements Workload {
    @Override
    public String name() {
      return shape.name() + storage.suffix();
    }

    @Override
    public String source() {
      return shape.source();
    }

    @Override
    public double flops() {
      return shape.unpaired().flops();
    }

    @Override
    public double bytes() {
      return 0;
    }
  }

  /** Multi-head attention with its projections. */
  record Layer(LayerShape layer, Storage storage) implements Workload {
    @Override
    public String name() {
      return layer.name() + storage.suffix();
    }

    @Override
    public String source() {
      return layer.source();
    }

    @Override
    public double flops() {
      return layer.flops();
    }

    @Override
    public double bytes() {
      return 0;
    }
  }

  /** A projection without bias. */
  record Product(Projection shape, Storage storage) implements Workload {
    /** Up to here a call is bound by reading its weights. */
    private static final int FEW_ROWS = 4;

    @Override
    public String name() {
      return shape.name() + storage.suffix();
    }

    @Override
    public String source() {
      return shape.source();
    }

    @Override
    public double flops() {
      return shape.flops();
    }

    @Override
    public double bytes() {
      return shape.rows() > FEW_ROWS ? 0 : weightBytes();
    }

    double weightBytes() {
      return storage.weightBytes((double) shape.dimIn() * shape.dimOut());
    }
  }

  /** A block of an encoder. */
  record Encoder(EncoderShape block) implements Workload {
    @Override
    public String name() {
      return block.name();
    }

    @Override
    public String source() {
      return block.source();
    }

    @Override
    public double flops() {
      return block.flops();
    }

    @Override
    public double bytes() {
      return 0;
    }
  }

  /** A block of a language model. */
  record Decoder(DecoderShape block) implements Workload {
    @Override
    public String name() {
      return block.name();
    }

    @Override
    public String source() {
      return block.source();
    }

    @Override
    public double flops() {
      return block.flops();
    }

    @Override
    public double bytes() {
      return block.isStep() ? block.bytes() : 0;
    }
  }

  /** Texts through a trained embedder, tokenizing included. */
  record Texts(TextShape texts) implements Workload {
    @Override
    public String name() {
      return texts.name();
    }

    @Override
    public String source() {
      return texts.source();
    }

    @Override
    public double flops() {
      return texts.flops();
    }

    @Override
    public double bytes() {
      return 0;
    }
  }

  /** Token ids through a whole encoder. */
  record Model(ModelShape model) implements Workload {
    @Override
    public String name() {
      return model.name();
    }

    @Override
    public String source() {
      return model.source();
    }

    @Override
    public double flops() {
      return model.flops();
    }

    @Override
    public double bytes() {
      return 0;
    }
  }

  /** Those of the peers' table: the odd shapes of the other comparison are left to it. */
  static List<Workload> all() {
    List<Workload> all = new ArrayList<>();
    all.add(new Prefill(SMALLEST, Storage.F32));
    Shape.all("prefill").stream()
        .filter(shape -> number(shape.name()) <= 11)
        .map(shape -> new Prefill(shape, Storage.F32))
        .forEach(all::add);
    Shape.all("decode").stream()
        .filter(shape -> number(shape.name()) <= 4)
        .map(shape -> new Step(shape, Storage.F32))
        .forEach(all::add);
    LayerShape.all().stream().map(shape -> new Layer(shape, Storage.F32)).forEach(all::add);
    all.add(new Pairs(Shape.named("differential", "X1"), Storage.F32));
    EncoderShape.all().stream().map(Encoder::new).forEach(all::add);
    DecoderShape.all().stream().map(Decoder::new).forEach(all::add);
    TextShape.all().stream().map(Texts::new).forEach(all::add);
    ModelShape.all().stream().map(Model::new).forEach(all::add);
    Shape.lines("reduced").forEach(line -> addReduced(line.strip().split("\\s+"), all));
    return all;
  }

  /** A problem with its numbers stored in some ways. */
  private static void addReduced(String[] words, List<Workload> all) {
    String name = words[0];
    for (Storage storage : Stream.of(words).skip(1).map(Storage::valueOf).toList()) {
      all.add(
          switch (name.charAt(0)) {
            case 'P' -> new Prefill(Shape.named("prefill", name), storage);
            case 'D' -> new Step(Shape.named("decode", name), storage);
            case 'X' -> new Pairs(Shape.named("differential", name), storage);
            case 'M' -> new Layer(LayerShape.named(name), storage);
            case 'W' -> new Product(Projection.named("rows", name), storage);
            default -> throw new IllegalArgumentException("no problem is called " + name);
          });
    }
  }

  /** The one of that name. */
  static Workload named(String name) {
    return all().stream()
        .filter(workload -> workload.name().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "no workload is called %s, only %s"
                        .formatted(name, all().stream().map(Workload::name).toList())));
  }

  private static int number(String name) {
    return Integer.parseInt(name.substring(1));
  }
}
