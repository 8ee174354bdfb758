# frozen_string_literal: true

require "securerandom"

module Changeover
  # Writes rows of a change's tables through the server: all operations of a request or none, and never twice.
  class Writes
    # What one operation stored, for later ones: `ref[:id]` stands for its minted id.
    class Reference
      def initialize(operation, row = 0)
        @operation = operation
        @row = row
      end

      def [](column)
        { "operation" => @operation, "row" => @row, "column" => column.to_s }
      end

      def row(number)
        Reference.new(@operation, number)
      end
    end

    # Collects the operations of one request.
    class Operations
      attr_reader :list

      def initialize
        @list = []
      end

      def insert(table, *rows)
        add("insert" => table.to_s, "rows" => rows.flatten)
      end

      def update(table, where:, set:, if: nil)
        add({ "update" => table.to_s, "where" => where, "set" => set, "if" => binding.local_variable_get(:if) }.compact)
      end

      def upsert(table, *rows, by: nil)
        add({ "upsert" => table.to_s, "rows" => rows.flatten, "by" => by }.compact)
      end

      def delete(table, where:, if: nil)
        add({ "delete" => table.to_s, "where" => where, "if" => binding.local_variable_get(:if) }.compact)
      end

      private

      def add(operation)
        @list << operation
        Reference.new(@list.size - 1)
      end
    end

    def initialize(transport, change, retries: Retries.new)
      @transport = transport
      @path = "/api/v1/changes/#{change}/writes"
      @retries = retries
    end

    # Yields operations, sends them as one transaction, and returns the server's answer. The same key is sent with each
    # attempt, so a write whose answer was lost is not done again; give your own to be safe over a restart of your process.
    def transaction(idempotency_key: SecureRandom.uuid, dry_run: false, timeout: nil)
      operations = Operations.new
      yield operations
      body = { "operations" => operations.list }
      body["dry_run"] = true if dry_run
      options = { headers: { "Idempotency-Key" => idempotency_key } }
      options[:timeout] = timeout if timeout
      @retries.run { @transport.post(@path, body, **options).checked.json }
    end

    %i[insert update upsert delete].each do |verb|
      define_method(verb) { |*arguments, idempotency_key: SecureRandom.uuid, **options| transaction(idempotency_key: idempotency_key) { |all| all.public_send(verb, *arguments, **options) } }
    end

    # The tables, their keys and rows, and what is writable now.
    def describe
      @retries.run { @transport.get(@path).checked.json }
    end
  end
end
