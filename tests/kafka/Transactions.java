import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Random;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Writes events in transactions, with Kafka's own producer: the one client that speaks both protocols of transactions.
 *
 * <p>Arguments: servers, topic, partitions, transactions. Some end in a commit, some in an abort, some are left open by a producer whose
 * successor ends them, and the last one is left open by a process that is gone. Prints the id of each committed event, then the highest
 * epoch of a producer (KIP-890: with transaction.version 2 each transaction has one of its own).
 */
public final class Transactions {
  private static final int RECORDS = 5;

  private Transactions() {}

  public static void main(String[] words) throws Exception {
    String topic = words[1];
    int partitions = Integer.parseInt(words[2]);
    int transactions = Integer.parseInt(words[3]);
    Properties settings = new Properties();
    settings.put("bootstrap.servers", words[0]);
    settings.put("transactional.id", "java-" + topic);
    // A machine that stands still for a while must end no transaction of a producer that lives: only the last one is to time out.
    settings.put("transaction.timeout.ms", "600000");
    settings.put("max.block.ms", "300000");
    settings.put("delivery.timeout.ms", "300000");
    Random chance = new Random(7);
    KafkaProducer<String, String> producer = begun(settings);
    for (int number = 0; number < transactions; number++) {
      List<String> ids = written(producer, topic, partitions, number);
      int end = chance.nextInt(10);
      if (end < 5) {
        producer.commitTransaction();
        ids.forEach(System.out::println);
      } else if (end < 8) {
        producer.flush();
        producer.abortTransaction();
      } else {
        producer.flush();
        producer = begun(settings);
      }
    }
    int epoch = 0;
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", words[0]))) {
      List<TopicPartition> places = new ArrayList<>();
      for (int partition = 0; partition < partitions; partition++) {
        places.add(new TopicPartition(topic, partition));
      }
      for (var place : admin.describeProducers(places).all().get().values()) {
        for (var seen : place.activeProducers()) {
          epoch = Math.max(epoch, seen.producerEpoch());
        }
      }
    }
    System.out.println("epoch " + epoch);
    System.out.flush();
    settings.put("transaction.timeout.ms", "5000");
    producer = begun(settings);
    written(producer, topic, partitions, transactions);
    producer.flush();
    Runtime.getRuntime().halt(0);
  }

  private static KafkaProducer<String, String> begun(Properties settings) {
    KafkaProducer<String, String> producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    producer.initTransactions();
    return producer;
  }

  private static List<String> written(KafkaProducer<String, String> producer, String topic, int partitions, int number) {
    producer.beginTransaction();
    List<String> ids = new ArrayList<>();
    for (int record = 0; record < RECORDS; record++) {
      String id = "t" + number + "-" + record;
      String event =
          String.format("{\"event_id\": \"%s\", \"user_id\": \"u\", \"item_id\": \"i\", \"timestamp\": %d}", id, System.currentTimeMillis());
      producer.send(new ProducerRecord<>(topic, (number + record) % partitions, "u", event));
      ids.add(id);
    }
    return ids;
  }
}
