import static org.apache.spark.sql.functions.col;
import static org.apache.spark.sql.functions.crc32;
import static org.apache.spark.sql.functions.from_json;
import static org.apache.spark.sql.functions.length;
import static org.apache.spark.sql.functions.lit;
import static org.apache.spark.sql.functions.unix_millis;

import org.apache.spark.sql.Column;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.StreamingQuery;
import org.apache.spark.sql.streaming.Trigger;
import org.apache.spark.sql.types.DataTypes;
import org.apache.spark.sql.types.StructType;

/**
 * The peer of `make bench-ingest`: Spark Structured Streaming from a Kafka topic to Parquet, exactly once by its checkpoint.
 *
 * <p>It judges a record by the rules of ingest's event schema and drops those that break one. Left out, all in its favour: dead
 * letters, repeated events, and flushing files to the disk.
 *
 * <p>Arguments: servers, topic, folder, and either 0 (read what is there and end) or the interval of commits in milliseconds.
 */
public final class SparkIngest {
    private static final StructType EVENT = new StructType()
            .add("event_id", DataTypes.StringType)
            .add("user_id", DataTypes.StringType)
            .add("item_id", DataTypes.StringType)
            .add("timestamp", DataTypes.LongType)
            .add("fraction", DataTypes.DoubleType)
            .add("request_id", DataTypes.StringType);
    private static final String CONTROL = "[\\x00-\\x1f\\x7f]";
    private static final long AHEAD_MS = 24L * 3600 * 1000;
    private static final long LATEST_MS = 4_102_444_800_000L;

    public static void main(String[] arguments) throws Exception {
        String servers = arguments[0], topic = arguments[1], folder = arguments[2];
        long everyMs = Long.parseLong(arguments[3]);
        SparkSession spark = SparkSession.builder()
                .appName("bench")
                .master("local[*]")
                .config("spark.ui.enabled", "false")
                .config("spark.driver.host", "127.0.0.1")
                .config("spark.driver.bindAddress", "127.0.0.1")
                .config("spark.log.level", "WARN")
                .config("spark.sql.parquet.compression.codec", "zstd")
                .config("spark.local.dir", folder + "/scratch")
                .config("spark.sql.warehouse.dir", folder + "/warehouse")
                .getOrCreate();
        Dataset<Row> records = spark.readStream()
                .format("kafka")
                .option("kafka.bootstrap.servers", servers)
                .option("kafka.isolation.level", "read_committed")
                .option("subscribe", topic)
                .option("startingOffsets", "earliest")
                .load();
        System.out.println("started " + System.currentTimeMillis());
        StreamingQuery query = rows(records)
                .writeStream()
                .format("parquet")
                .option("path", folder + "/rows")
                .option("checkpointLocation", folder + "/checkpoint")
                .trigger(everyMs == 0 ? Trigger.AvailableNow() : Trigger.ProcessingTime(everyMs))
                .start();
        query.awaitTermination();
        System.out.println("ended " + System.currentTimeMillis());
        spark.stop();
    }

    private static Dataset<Row> rows(Dataset<Row> records) {
        Dataset<Row> read = records.select(
                from_json(col("value").cast("string"), EVENT).as("event"),
                col("key").cast("string").as("key"),
                col("topic").as("_topic"),
                col("partition").as("_partition"),
                col("offset").as("_offset"),
                unix_millis(col("timestamp")).as("_timestamp"),
                crc32(col("value")).as("_payload_crc32"));
        return read.select("event.*", "key", "_topic", "_partition", "_offset", "_timestamp", "_payload_crc32")
                .where(identifier("event_id").and(identifier("user_id")).and(identifier("item_id")))
                .where(col("request_id").isNull().or(identifier("request_id")))
                .where(col("timestamp").between(0, LATEST_MS))
                .where(col("fraction").isNull().or(col("fraction").between(0, 1)))
                .where(col("key").equalTo(col("user_id")))
                .where(col("timestamp").minus(col("_timestamp")).leq(lit(AHEAD_MS)))
                .drop("key");
    }

    private static Column identifier(String name) {
        return col(name).isNotNull().and(length(col(name)).between(1, 128)).and(col(name).rlike(CONTROL).equalTo(false));
    }
}
